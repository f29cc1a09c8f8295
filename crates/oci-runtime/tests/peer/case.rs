//! One specification, run by everybody, and the comparison.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, set_child_subreaper};
use serde_json::{Value, json};
use stowd_oci_runtime::{CreateOptions, Delete, ExecOptions, Stdio, spec};
use stowd_testing::need;

use crate::peers::{ConsoleSocket, Runc, Runner, pid_in};
use crate::support::{Bench, default_spec, make_rootfs, reap};
use crate::view::View;
use crate::{known, probe};

/// A specification, for one runtime to run.
pub(crate) struct Case<'a> {
    /// `config.json`. The first process's arguments are set later, unless `args` is.
    pub(crate) spec: Value,
    /// More questions for the probe.
    pub(crate) more: String,
    /// What to run instead of the probe.
    pub(crate) args: Option<Value>,
    /// One more process for the container, which runs the probe in the place of the first one.
    pub(crate) exec: Option<Value>,
    /// The bundle's root.
    pub(crate) rootfs: PathBuf,
    /// A folder that is empty at first, for what is mounted.
    pub(crate) data: PathBuf,
    /// Who runs it now.
    pub(crate) runner: Runner,
    /// The container's id.
    pub(crate) id: &'a str,
    pass: Vec<(Runner, &'static str)>,
}

impl Case<'_> {
    /// Adds a mount.
    pub(crate) fn mount(&mut self, kind: &str, source: &str, destination: &str, options: &[&str]) {
        self.push(
            "/mounts",
            json!({
                "destination": destination, "type": kind, "source": source, "options": options
            }),
        );
    }

    /// Adds an item to the list at a place of the specification.
    pub(crate) fn push(&mut self, place: &str, item: Value) {
        let list = self.spec.pointer_mut(place).and_then(Value::as_array_mut);
        list.unwrap_or_else(|| panic!("no list at {place}")).push(item);
    }

    /// Leaves a runc out, for a reason.
    pub(crate) fn not(&mut self, runner: Runner, reason: &'static str) {
        self.pass.push((runner, reason));
    }

    /// A new namespace.
    pub(crate) fn namespace(&mut self, kind: &str) {
        self.push("/linux/namespaces", json!({ "type": kind }));
    }
}

/// Runs what `build` makes of the default specification by stowd and by each runc. They must look the
/// same from inside and from outside, end the same way and leave the same.
pub(crate) fn compare(build: impl Fn(&mut Case<'_>)) {
    need!(root, clients);
    // A runc's containers are its children's children; their ends must be told to somebody.
    set_child_subreaper(Some(rustix::process::getpid())).expect("to be a subreaper");
    let bench = Bench::new();
    // The upper one stays, as it does with every runtime.
    let cgroup = format!("/{}/{}", bench.scratch.namespace(), bench.id);
    let mut seen: Vec<(Runner, View)> = Vec::new();
    for runner in [Runner::Stowd, Runner::Runc1_1, Runner::Runc1_3] {
        let mut case = fresh(&bench, &cgroup, runner);
        build(&mut case);
        if case.pass.iter().any(|(other, _)| *other == runner) {
            stowd_testing::leaks::remove(&case.data, &Default::default());
            continue;
        }
        let process = case.exec.as_mut().unwrap_or(&mut case.spec["process"]);
        process["args"] = case
            .args
            .clone()
            .unwrap_or_else(|| json!(["/bin/sh", "-c", probe::script(&case.more)]));
        if case.exec.is_some() {
            case.spec["process"]["args"] = json!(["/bin/sleep", "600"]);
        }
        let config = serde_json::to_vec_pretty(&case.spec).expect("json");
        fs::write(bench.bundle.join("config.json"), config).expect("config.json");
        let mut view = run(&bench, &case);
        if !view.0.contains_key("error") {
            view.folder("host root", &case.rootfs);
            view.folder("host data", &case.data);
        }
        // What hooks on the host wrote.
        if let Ok(log) = fs::read_to_string(case.data.join("log")) {
            view.add("log", log.lines().map(str::to_owned).collect());
        }
        stowd_testing::leaks::remove(&case.data, &Default::default());
        seen.push((runner, view));
    }
    let (_, ours) = seen.remove(0);
    assert!(!seen.is_empty(), "nobody to compare with");
    let report: String = seen
        .iter()
        .map(|(runner, theirs)| {
            let (mut ours, mut theirs) = (ours.clone(), theirs.clone());
            known::settle(*runner, &mut ours);
            known::settle(*runner, &mut theirs);
            (runner, ours.differences(&theirs))
        })
        .filter(|(_, report)| !report.is_empty())
        .map(|(runner, report)| format!("{runner:?} (-) and stowd (+) differ:\n{report}"))
        .collect();
    assert!(report.is_empty(), "{report}");
}

/// The default specification, with everything on disk as it is at first.
fn fresh<'a>(bench: &'a Bench, cgroup: &str, runner: Runner) -> Case<'a> {
    let rootfs = bench.bundle.join("rootfs");
    let data = bench.scratch.join("data");
    for folder in [&rootfs, &data] {
        let _ = fs::remove_dir_all(folder);
        fs::create_dir_all(folder).expect("a folder");
    }
    make_rootfs(&rootfs);
    let mut spec = default_spec();
    spec["linux"]["cgroupsPath"] = json!(cgroup);
    Case {
        spec,
        more: String::new(),
        args: None,
        exec: None,
        rootfs,
        data,
        runner,
        id: &bench.id,
        pass: Vec::new(),
    }
}

/// The test's ends of a process's streams.
struct Ends {
    input: OwnedFd,
    output: OwnedFd,
}

fn run(bench: &Bench, case: &Case<'_>) -> View {
    let mut view = View::default();
    let result = match case.runner {
        Runner::Stowd => by_us(bench, case, &mut view),
        version => by_runc(&Runc { version, dir: bench.scratch.path() }, bench, case, &mut view),
    };
    if let Err(error) = result {
        view.add("error", vec![error.replace(&*bench.scratch.path().to_string_lossy(), "SCRATCH")]);
    }
    view
}

fn by_us(bench: &Bench, case: &Case<'_>, view: &mut View) -> Result<(), String> {
    // As the shim has it, and `runc` prints it.
    let create = |error: stowd_oci_runtime::Error| format!("runc create failed: {error}");
    let (stdio, ends) = streams();
    let mut options = CreateOptions::new(&bench.id, &bench.bundle);
    let terminal = case.spec["process"]["terminal"] == json!(true);
    options.stdio = if terminal { Stdio::Terminal } else { fds(stdio) };
    let created = bench.runtime.create(options).map_err(create)?;
    let mut container = created.container;
    look(view, "created", container.pid(), case);
    let started = container.start().map_err(|error| format!("runc start failed: {error}"));
    let ended = started.and_then(|_| match &case.exec {
        None => {
            let ends = created.console.map_or(ends, Ends::of_terminal);
            watch(view, ends, container.pid(), case);
            Ok(())
        }
        Some(process) => {
            let process = spec::Process::parse(process.to_string().as_bytes());
            let mut options = ExecOptions::new(process.map_err(|error| error.to_string())?);
            let (stdio, ends) = streams();
            let terminal = options.process.terminal;
            options.stdio = if terminal { Stdio::Terminal } else { fds(stdio) };
            let exec = container.exec(options).map_err(|error| format!("exec failed: {error}"))?;
            let ends = exec.console.map_or(ends, Ends::of_terminal);
            watch(view, ends, exec.pid, case);
            Ok(())
        }
    });
    let pid = container.pid();
    container.delete(Delete::Force).expect("delete");
    if ended.is_err() || case.exec.is_some() {
        reap(pid);
    }
    ended
}

fn by_runc(runc: &Runc<'_>, bench: &Bench, case: &Case<'_>, view: &mut View) -> Result<(), String> {
    let (stdio, ends) = streams();
    let file = bench.scratch.join("pid");
    let (file_text, bundle) = (file.to_string_lossy(), bench.bundle.to_string_lossy());
    let mut args = vec!["create", "--bundle", &bundle, "--pid-file", &file_text];
    let terminal = case.spec["process"]["terminal"] == json!(true);
    let socket = terminal.then(|| ConsoleSocket::new(&bench.scratch.join("tty")));
    let socket_path = bench.scratch.join("tty").to_string_lossy().into_owned();
    if terminal {
        args.extend(["--console-socket", &socket_path]);
    }
    args.push(&bench.id);
    runc.run(&args, Some(stdio))?;
    let console = socket.map(ConsoleSocket::receive);
    let pid = pid_in(&file);
    look(view, "created", pid, case);
    let ended = runc.run(&["start", &bench.id], None).and_then(|()| match &case.exec {
        None => {
            watch(view, console.map_or(ends, Ends::of_terminal), pid, case);
            Ok(())
        }
        Some(process) => {
            let spec = bench.scratch.join("process.json");
            fs::write(&spec, process.to_string()).expect("process.json");
            let spec = spec.to_string_lossy();
            let mut args = vec!["exec", "--detach", "--process", &spec, "--pid-file", &file_text];
            let terminal = process["terminal"] == json!(true);
            let socket = terminal.then(|| ConsoleSocket::new(&bench.scratch.join("tty")));
            if terminal {
                args.extend(["--console-socket", &socket_path]);
            }
            args.push(&bench.id);
            let (stdio, ends) = streams();
            runc.run(&args, Some(stdio))?;
            let ends = socket.map(ConsoleSocket::receive).map_or(ends, Ends::of_terminal);
            watch(view, ends, pid_in(&file), case);
            Ok(())
        }
    });
    runc.run(&["delete", "--force", &bench.id], None).expect("delete");
    if ended.is_err() || case.exec.is_some() {
        reap(pid);
    }
    ended
}

/// Reads what the process prints, looks at it from outside, and lets it end.
fn watch(view: &mut View, ends: Ends, pid: Pid, case: &Case<'_>) {
    let mut output = File::from(ends.output);
    let mut printed = Vec::new();
    let mut has_ended = false;
    while !has_ended && !printed.windows(probe::END.len()).any(|part| part == probe::END.as_bytes())
    {
        has_ended = !read_some(&mut output, &mut printed);
    }
    if !has_ended {
        look(view, "running", pid, case);
        File::from(ends.input).write_all(b"\n").expect("the process reads");
        while read_some(&mut output, &mut printed) {}
    }
    view.inside(&String::from_utf8_lossy(&printed));
    view.add("end", vec![format!("{:?}", reap(pid))]);
}

/// Says false at the end of the output.
fn read_some(output: &mut File, printed: &mut Vec<u8>) -> bool {
    const PATIENCE: Duration = Duration::from_secs(60);
    let limit = Timespec { tv_sec: PATIENCE.as_secs().cast_signed(), tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&output.as_fd(), PollFlags::IN)], Some(&limit));
    let so_far = String::from_utf8_lossy(printed);
    assert_ne!(ready, Ok(0), "nothing more comes after {so_far}");
    let mut buffer = [0; 4096];
    // A terminal's master says so by an error when the other end is gone.
    let count = output.read(&mut buffer).unwrap_or(0);
    printed.extend_from_slice(&buffer[..count]);
    count > 0
}

fn look(view: &mut View, when: &str, pid: Pid, case: &Case<'_>) {
    view.process(when, pid);
    view.cgroup(when, case.spec["linux"]["cgroupsPath"].as_str().expect("a path"));
}

impl Ends {
    fn of_terminal(master: OwnedFd) -> Ends {
        Ends { input: master.try_clone().expect("a copy"), output: master }
    }
}

/// A process's streams, and the test's ends.
fn streams() -> ([OwnedFd; 3], Ends) {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
    let ((stdin, input), (output, stdout)) = (pipe(), pipe());
    let stderr = stdout.try_clone().expect("a copy");
    ([stdin, stdout, stderr], Ends { input, output })
}

fn fds([stdin, stdout, stderr]: [OwnedFd; 3]) -> Stdio {
    Stdio::Fds { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr) }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
