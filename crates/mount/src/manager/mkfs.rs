//! The transformer `mkfs/`: makes a file with a file system in it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use stowd_core::mount::Mount;
use stowd_core::{Error, Result};

use super::roots::{Place, Roots};

/// What its options begin with.
const PREFIX: &str = "X-containerd.mkfs.";
/// How long making a file system may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the options ask for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// In bytes.
    size: u64,
    program: &'static str,
    arguments: Vec<String>,
}

/// Makes a mount's source, unless it is there, and takes the options that say how out.
///
/// # Errors
/// `InvalidArgument` for options that cannot be meant; `NotImplemented`, as containerd has it, for a
/// place below no root; `FailedPrecondition` when the program is missing.
pub(crate) fn transform(mut mount: Mount, roots: &Roots) -> Result<Mount> {
    let place = roots.find(&mount.source, "mkfs")?;
    let (own, rest): (Vec<_>, Vec<_>) =
        mount.options.into_iter().partition(|option| option.starts_with(PREFIX));
    mount.options = rest;
    let wanted = parse(&own)?;
    let failed = |error: io::Error| Error::io(format_args!("make file {:?}", mount.source), &error);
    if place.open().map_err(failed)?.is_none() {
        make(&place, &wanted, &mount.source)?;
    }
    Ok(mount)
}

fn parse(options: &[String]) -> Result<Wanted> {
    let (mut size, mut kind, mut uuid) = (0, "ext4", None);
    for option in options {
        let unknown = || Error::invalid(format_args!("unknown mount option {option}"));
        let (key, value) = option[PREFIX.len()..].split_once('=').ok_or_else(unknown)?;
        match key {
            "size" => {
                size = bytes(value).ok_or_else(|| {
                    Error::invalid(format_args!("bad option {option}: invalid size"))
                })?;
            }
            "fs" => kind = value,
            // It becomes an argument of a program, where other words mean other things.
            "uuid"
                if value.len() == 36
                    && value.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') =>
            {
                uuid = Some(value);
            }
            "uuid" => {
                return Err(Error::invalid(format_args!("bad option {option}: invalid uuid")));
            }
            _ => return Err(unknown()),
        }
    }
    if size == 0 {
        return Err(Error::invalid("mkfs requires mkfs.size option"));
    }
    let mut arguments = vec!["-q".to_owned()];
    let program = match kind {
        "ext2" => "mkfs.ext2",
        "ext3" => "mkfs.ext3",
        "ext4" => "mkfs.ext4",
        "xfs" => "mkfs.xfs",
        _ => return Err(Error::invalid(format_args!("unsupported filesystem {kind:?}"))),
    };
    match uuid {
        Some(uuid) if kind == "xfs" => arguments.extend(["-m".to_owned(), format!("uuid={uuid}")]),
        Some(uuid) => arguments.extend(["-U".to_owned(), uuid.to_owned()]),
        None => {}
    }
    Ok(Wanted { size, program, arguments })
}

/// Parses a size as Docker's tools write it: `64m`, `1.5GiB`, `100 MB`; all units are of 1024.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let unit = unit.strip_suffix('i').unwrap_or(unit);
    let power = match unit {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let factor = 1u64 << (10 * power);
    let size = match number.split_once('.') {
        None => number.parse::<u64>().ok()?.checked_mul(factor)?,
        Some((whole, part)) => {
            let whole: u64 = whole.parse().ok()?;
            let scale = 10u128.checked_pow(u32::try_from(part.len()).ok()?)?;
            let part: u128 = part.parse().ok()?;
            let part = u64::try_from(part.checked_mul(factor.into())? / scale).ok()?;
            whole.checked_mul(factor)?.checked_add(part)?
        }
    };
    i64::try_from(size).is_ok().then_some(size)
}

/// Makes the file whole before it gets its name, so that none is ever seen half made.
fn make(place: &Place, wanted: &Wanted, path: &str) -> Result<()> {
    let failed = |act: &str, error: io::Error| Error::io(format_args!("{act} {path:?}"), &error);
    let unnamed = Unnamed::create(place).map_err(|error| failed("create file", error))?;
    unnamed.file.set_len(wanted.size).map_err(|error| failed("size file", error))?;
    run(wanted, &unnamed.file)
        .map_err(|error| error.context(format_args!("failed format {path:?}")))?;
    unnamed.file.sync_all().map_err(|error| failed("write file", error))?;
    match unnamed.name(place) {
        // Somebody else made it meanwhile.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(failed("name file", error.into())),
    }
}

/// A file without a name, or, where the file system has none such, with a name of no meaning.
struct Unnamed<'a> {
    file: File,
    hidden: Option<(&'a OwnedFd, String)>,
}

impl<'a> Unnamed<'a> {
    fn create(place: &'a Place) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o640);
        match rustix::fs::openat(&place.parent, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Self { file: file.into(), hidden: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let name = format!(".{}.mkfs", place.name.display());
                // What a crash left there is written over.
                let flags = flags | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW;
                let file = rustix::fs::openat(&place.parent, &name, flags, mode)?;
                Ok(Self { file: file.into(), hidden: Some((&place.parent, name)) })
            }
            Err(error) => Err(error.into()),
        }
    }

    fn name(mut self, place: &Place) -> rustix::io::Result<()> {
        let Some((parent, hidden)) = &self.hidden else {
            let link = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let follow = AtFlags::SYMLINK_FOLLOW;
            return rustix::fs::linkat(CWD, link, &place.parent, &place.name, follow);
        };
        let replace = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(parent, hidden, &place.parent, &place.name, replace)?;
        self.hidden = None;
        Ok(())
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        if let Some((parent, name)) = &self.hidden {
            // What stays is written over by the next try.
            let _ = rustix::fs::unlinkat(parent, name, AtFlags::empty());
        }
    }
}

fn run(wanted: &Wanted, file: &File) -> Result<()> {
    let program = wanted.program;
    let io = |error: &io::Error| Error::io(format_args!("run {program}"), error);
    let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    let mut command = Command::new(program);
    command.args(&wanted.arguments).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Error::failed_precondition(format_args!("{program} is not installed"))
                .hint(if program == "mkfs.xfs" { "install xfsprogs" } else { "install e2fsprogs" })
        }
        _ => io(&error),
    })?;
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < deadline => {}
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Error::deadline_exceeded(format_args!(
                    "{program} did not end within {PATIENCE:?}"
                )));
            }
            Err(error) => return Err(io(&error)),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    };
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // Its last words, if there are any.
        let _ = stderr.take(4096).read_to_end(&mut said);
    }
    let said = String::from_utf8_lossy(&said);
    Err(Error::unknown(format_args!("{program} failed: {status}: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_writes_them() {
        for (text, size) in [
            ("0", 0),
            ("42", 42),
            ("42b", 42),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64 KiB", 64 << 10),
            ("1.5MB", 3 << 19),
            ("100MiB", 100 << 20),
            ("2g", 2 << 30),
            ("1T", 1 << 40),
        ] {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for wrong in
            ["", "x", "-1", "1x", "1.", ".5", "1.5.5", "1 k k", "99999999999p", "8192p", "1e9"]
        {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn options_become_arguments() {
        let uuid = "550e8400-e29b-41d4-a716-446655440000";
        let parsed = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|o| format!("{PREFIX}{o}")).collect();
            parse(&options)
        };
        let ext4 = parsed(&["size=1m", &format!("uuid={uuid}")]).unwrap();
        assert_eq!((ext4.size, ext4.program), (1 << 20, "mkfs.ext4"));
        assert_eq!(ext4.arguments, ["-q", "-U", uuid]);
        let xfs = parsed(&["fs=xfs", "size=1g", &format!("uuid={uuid}")]).unwrap();
        assert_eq!(xfs.program, "mkfs.xfs");
        assert_eq!(xfs.arguments, ["-q", "-m", &format!("uuid={uuid}")]);
        for wrong in [
            &["fs=ext4"] as &[&str],
            &["size=0"],
            &["size=1x"],
            &["size=1m", "fs=btrfs"],
            &["size=1m", "uuid=random"],
            &["size=1m", "label=x"],
            &["size"],
        ] {
            let error = parsed(wrong).unwrap_err();
            assert!(error.is(stowd_core::ErrorKind::InvalidArgument), "{wrong:?}: {error}");
        }
    }
}
