//! The runtimes that run a specification, and their programs.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::Pid;
use serde_json::Value;
use stowd_testing::Version;

/// Who runs a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runner {
    /// This crate.
    Stowd,
    /// Debian 12's runc.
    Runc1_1,
    /// The newest runc that Debian has.
    Runc1_3,
}

/// One runc with a state folder of its own.
pub(crate) struct Runc<'a> {
    pub(crate) version: Runner,
    /// A folder of the test's.
    pub(crate) dir: &'a Path,
}

impl Runc<'_> {
    /// Runs a command with these streams; on failure gives what it logged last, as containerd reads it.
    pub(crate) fn run(&self, args: &[&str], streams: Option<[OwnedFd; 3]>) -> Result<(), String> {
        let log = self.dir.join("log.json");
        // A run that fails before it logs must not be told with an older one's words.
        let _ = std::fs::remove_file(&log);
        let mut command = self.program();
        command.arg("--root").arg(self.dir.join("run")).arg("--log").arg(&log);
        command.args(["--log-format", "json"]).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if let Some([stdin, stdout, stderr]) = streams {
            command.stdin(stdin).stdout(stdout).stderr(stderr);
        }
        let status = command.status().expect("runc starts");
        if status.success() {
            return Ok(());
        }
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let mut errors = lines.filter(|line| line["level"] == "error");
        let last = errors.next_back().and_then(|line| line["msg"].as_str().map(str::to_owned));
        Err(last.unwrap_or_else(|| format!("{status}, and nothing logged")))
    }

    fn program(&self) -> Command {
        if self.version == Runner::Runc1_1 {
            return Command::new(Version::V1_6.program("runc"));
        }
        // It wants a newer C library, also when it starts itself anew for a container's first process:
        // so it gets a mount namespace in which the newer one lies over the machine's.
        let libraries = Version::V2.tree().join("usr/lib/x86_64-linux-gnu");
        let mut command = Command::new("unshare");
        command.args(["-m", "--propagation", "unchanged", "sh", "-ec"]);
        command.arg(
            // What is mounted there must not reach the machine, and nothing else may change.
            "mount --make-private $(stat -c %m /usr/lib/x86_64-linux-gnu)\n\
             mount -t overlay -o lowerdir=$0:/usr/lib/x86_64-linux-gnu o /usr/lib/x86_64-linux-gnu\n\
             exec \"$@\"",
        );
        command.arg(libraries).arg(Version::V2.program("runc"));
        command
    }
}

/// Reads the process id that runc left in a file.
pub(crate) fn pid_in(file: &Path) -> Pid {
    let text = std::fs::read_to_string(file).expect("a pid file");
    Pid::from_raw(text.trim().parse().expect("a number")).expect("a process")
}

/// Where runc sends a terminal's master to.
pub(crate) struct ConsoleSocket {
    listener: UnixListener,
}

impl ConsoleSocket {
    pub(crate) fn new(path: &Path) -> ConsoleSocket {
        let _ = std::fs::remove_file(path);
        ConsoleSocket { listener: UnixListener::bind(path).expect("a socket") }
    }

    /// Takes the master.
    pub(crate) fn receive(self) -> OwnedFd {
        let (stream, _) = self.listener.accept().expect("a connection");
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut buffer = RecvAncillaryBuffer::new(&mut space);
        let mut name = [0u8; 256];
        let mut slices = [IoSliceMut::new(&mut name)];
        recvmsg(&stream, &mut slices, &mut buffer, RecvFlags::CMSG_CLOEXEC).expect("a message");
        let fds = buffer.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        fds.expect("a descriptor")
    }
}
