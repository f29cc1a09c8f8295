//! Running containers.

use stowd_testing::Version;
use stowd_testing::transcript::Session;

use crate::{IMAGE, import, start, until};

crate::scripts!(
    run_to_the_end,
    run_with_options,
    run_on_a_terminal,
    run_in_the_background,
    exec_in_a_container,
    pause_and_resume,
    kill_with_signals,
    metrics_of_a_container,
    input_reaches_a_container,
    signals,
    processes,
    tasks_in_the_wrong_state,
);

const FOREVER: &str = "while :; do sleep 1; done";

fn run_to_the_end(it: &mut Session<'_>) {
    import(it);
    assert_eq!(it.ctr(&["run", "--rm", IMAGE, "one", "echo", "hello"]), "hello\n");
    let output = it.command(&["run", "--rm", IMAGE, "two", "sh", "-c", "echo bad >&2; exit 7"]);
    let output = output.output();
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stderr, b"bad\n");
    // Everything goes with --rm.
    it.ctr(&["containers", "ls"]);
    it.ctr(&["tasks", "ls"]);
    it.ctr(&["snapshots", "ls"]);
    // Without it the container stays and can be started again.
    it.ctr(&["run", IMAGE, "kept", "echo", "first"]);
    it.ctr(&["containers", "ls"]);
    it.ctr(&["tasks", "ls"]);
    assert_eq!(it.ctr(&["tasks", "start", "kept"]), "first\n");
    it.ctr(&["containers", "rm", "kept"]);
    it.ctr(&["snapshots", "ls"]);
}

fn run_with_options(it: &mut Session<'_>) {
    import(it);
    let data = it.file("data", "from outside\n");
    let mount = format!("type=bind,src={data},dst=/data,options=rbind:ro");
    it.ctr(&["run", "--rm", "--mount", &mount, IMAGE, "c", "cat", "/data"]);
    it.ctr(&[
        "run",
        "--rm",
        "--env",
        "A=b",
        "--cwd",
        "/tmp",
        IMAGE,
        "c",
        "sh",
        "-c",
        "echo $A; pwd",
    ]);
    if it.client == Version::V2 {
        it.ctr(&["run", "--rm", "--user", "1000:1000", IMAGE, "c", "id"]);
    }
    it.ctr(&["run", "--rm", "--read-only", IMAGE, "c", "sh", "-c", "touch /x 2>&1 || echo no"]);
    it.ctr(&["run", "--rm", "--memory-limit", "67108864", IMAGE, "c", "cat", "/proc/self/cgroup"]);
    it.ctr(&["run", "--rm", "--privileged", IMAGE, "c", "grep", "Cap", "/proc/self/status"]);
    it.ctr(&["run", "--rm", IMAGE, "c", "grep", "-E", "Cap|NoNew", "/proc/self/status"]);
    it.ctr(&["run", "--rm", "--seccomp", IMAGE, "c", "grep", "^Seccomp:", "/proc/self/status"]);
    it.ctr(&[
        "run",
        "--rm",
        "--cap-drop",
        "CAP_CHOWN",
        IMAGE,
        "c",
        "grep",
        "CapEff",
        "/proc/self/status",
    ]);
    // Folders are masked by the small file system of newer runcs; Debian 12's has a plain one.
    let mount = ["run", "--rm", IMAGE, "c", "mount"];
    let mounts = it.quiet(&mount).replace("(ro,relatime,size=4k,nr_inodes=1)", "(ro,relatime)");
    it.note(&mount, &mounts);
    it.ctr(&["run", "--rm", IMAGE, "c", "ls", "-l", "/dev"]);
    it.ctr(&["run", "--rm", "--snapshotter", "native", IMAGE, "c", "echo", "native"]);
    let pid_file = it.folder.join("pid").to_string_lossy().into_owned();
    it.ctr(&["run", "--rm", "--pid-file", &pid_file, IMAGE, "c", "true"]);
    assert!(std::fs::read_to_string(pid_file).unwrap().parse::<u32>().is_ok());
}

fn run_on_a_terminal(it: &mut Session<'_>) {
    import(it);
    let said = it.on_terminal(&["run", "--rm", "-t", IMAGE, "c", "sh", "-c", "tty; echo colour"]);
    assert!(said.contains("/dev/pts/0") && said.contains("colour"), "{said}");
    let size = "stty size >/dev/null && echo sized";
    assert!(it.on_terminal(&["run", "--rm", "-t", IMAGE, "c", "sh", "-c", size]).contains("sized"));
    start(it, "d", FOREVER);
    let said = it.on_terminal(&["tasks", "exec", "-t", "--exec-id", "e", "d", "tty"]);
    assert!(said.contains("/dev/pts/0"), "{said}");
    it.quiet(&["tasks", "rm", "-f", "d"]);
}

fn run_in_the_background(it: &mut Session<'_>) {
    import(it);
    start(it, "d", FOREVER);
    it.ctr_but_numbers(&["tasks", "ls"]);
    assert_eq!(it.ctr(&["tasks", "ls", "-q"]), "d\n");
    it.ctr(&["containers", "ls"]);
    it.ctr_of_processes(&["tasks", "ps", "d"]);
    it.fails(&["tasks", "rm", "d"]);
    it.fails(&["containers", "rm", "d"]);
    it.ctr(&["tasks", "kill", "-s", "SIGKILL", "d"]);
    until(it, "d", "STOPPED");
    it.ctr_but_numbers(&["tasks", "ls"]);
    // The exit status is told on standard error, and is that of the command as well.
    let said = it.command(&["tasks", "rm", "d"]).output();
    it.note(&["tasks", "rm", "d"], &format!("{}", said.status));
    it.ctr(&["tasks", "ls"]);
    it.ctr(&["containers", "rm", "d"]);
    it.ctr(&["containers", "ls"]);
}

fn exec_in_a_container(it: &mut Session<'_>) {
    import(it);
    start(it, "d", FOREVER);
    assert_eq!(it.ctr(&["tasks", "exec", "--exec-id", "e", "d", "echo", "inside"]), "inside\n");
    let output =
        it.command(&["tasks", "exec", "--exec-id", "e", "d", "sh", "-c", "exit 5"]).output();
    assert_eq!(output.status.code(), Some(5));
    it.ctr(&["tasks", "exec", "--exec-id", "e", "--cwd", "/etc", "d", "pwd"]);
    it.ctr(&["tasks", "exec", "--exec-id", "e", "--user", "1000", "d", "id", "-u"]);
    it.fails(&["tasks", "exec", "--exec-id", "e", "d", "/no/such/program"]);
    it.ctr(&["tasks", "exec", "-d", "--exec-id", "long", "d", "sleep", "1000"]);
    let listed = it.ctr_of_processes(&["tasks", "ps", "d"]);
    assert!(listed.lines().count() >= 3, "{listed}");
    it.fails(&["tasks", "exec", "--exec-id", "long", "d", "true"]);
    it.ctr(&["tasks", "kill", "--exec-id", "long", "-s", "9", "d"]);
    it.quiet(&["tasks", "rm", "-f", "d"]);
    it.fails(&["tasks", "exec", "--exec-id", "e", "d", "true"]);
}

fn pause_and_resume(it: &mut Session<'_>) {
    import(it);
    start(it, "d", FOREVER);
    it.ctr(&["tasks", "pause", "d"]);
    assert!(it.ctr_but_numbers(&["tasks", "ls"]).contains("PAUSED"));
    it.fails(&["tasks", "exec", "--exec-id", "e", "d", "true"]);
    it.ctr(&["tasks", "resume", "d"]);
    assert!(it.ctr_but_numbers(&["tasks", "ls"]).contains("RUNNING"));
    it.ctr(&["tasks", "exec", "--exec-id", "e", "d", "echo", "awake"]);
    it.quiet(&["tasks", "rm", "-f", "d"]);
}

fn kill_with_signals(it: &mut Session<'_>) {
    import(it);
    start(it, "d", "trap 'exit 3' TERM; while :; do sleep 0.1; done");
    it.ctr(&["tasks", "exec", "--exec-id", "e", "d", "true"]);
    it.ctr(&["tasks", "kill", "d"]);
    until(it, "d", "STOPPED");
    let said = it.command(&["tasks", "rm", "d"]).output();
    it.note(&["tasks", "rm", "d"], &format!("{}", said.status));
    it.fails(&["tasks", "kill", "d"]);
    start(it, "all", "sleep 1000 & wait");
    it.ctr(&["tasks", "kill", "--all", "-s", "SIGKILL", "all"]);
    until(it, "all", "STOPPED");
    it.quiet(&["tasks", "rm", "-f", "all"]);
}

fn metrics_of_a_container(it: &mut Session<'_>) {
    import(it);
    start(it, "d", FOREVER);
    let said = it.ctr_but_numbers(&["tasks", "metrics", "d"]);
    assert!(said.contains("memory") && said.contains("cpu"), "{said}");
    let json = it.quiet(&["tasks", "metrics", "--format", "json", "d"]);
    assert!(json.contains("pids"), "{json}");
    it.quiet(&["tasks", "rm", "-f", "d"]);
}

fn input_reaches_a_container(it: &mut Session<'_>) {
    import(it);
    let said = it.command(&["run", "--rm", IMAGE, "c", "head", "-n", "2"]).input("a\nb\nc\n").ok();
    assert_eq!(said, "a\nb\n");
    let many = "line\n".repeat(100_000);
    let said = it.command(&["run", "--rm", IMAGE, "c", "sh", "-c", "head -c 500000 | wc -c"]);
    assert_eq!(said.input(many).ok().trim(), "500000");
}

fn signals(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "trap 'echo >/got-usr1' USR1; while :; do sleep 0.1; done");
    for bad in ["NONSENSE", "SIGNONSENSE"] {
        it.tries(&["tasks", "kill", "-s", bad, "one"]);
    }
    // The words are the runtime's.
    for bad in ["999", "-1"] {
        it.quiet_failure(&["tasks", "kill", "-s", bad, "one"]);
    }
    for good in ["USR1", "SIGUSR1", "sigusr1", "10", "0"] {
        it.tries(&["tasks", "kill", "-s", good, "one"]);
    }
    it.tries(&["tasks", "kill", "--exec-id", "absent", "one"]);
    it.tries(&["tasks", "rm", "one"]);
    it.tries(&["tasks", "kill", "-a", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "kill", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    it.ctr_but_numbers(&["tasks", "ls"]);
    it.tries(&["tasks", "rm", "one", "absent"]);
    it.tries(&["tasks", "ls"]);
}

fn processes(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "exec sleep 1000");
    let exec = |it: &mut Session<'_>, flags: &[&str], command: &[&str]| {
        let mut args = vec!["tasks", "exec", "--exec-id", "e"];
        args.extend(flags);
        args.push("one");
        args.extend(command);
        it.tries(&args)
    };
    exec(it, &[], &["sh", "-c", "id; pwd; env | sort; cat /proc/1/comm"]);
    exec(it, &["--cwd", "/tmp", "--user", "5:6"], &["sh", "-c", "id; pwd"]);
    exec(it, &["--user", "root"], &["id", "-u"]);
    exec(it, &[], &["sh", "-c", "ls /dev | sort | xargs; cat /proc/self/oom_score_adj"]);
    let log = it.folder.join("exec.log");
    exec(it, &["--log-uri", &format!("file://{}", log.display())], &["echo", "into the log"]);
    // containerd's shim may still be copying.
    let whole = stowd_testing::process::wait_briefly(|| {
        std::fs::read_to_string(&log).unwrap() == "into the log\n"
    });
    assert!(whole, "{:?}", std::fs::read_to_string(&log));
    exec(it, &[], &["sh", "-c", "exit 9"]);
    exec(it, &[], &["/no/such/program"]);
    exec(it, &["--cwd", "/no/such", "--user", "nobody-such"], &["true"]);
    it.tries(&["tasks", "exec", "--exec-id", "not/good", "one", "true"]);
    it.tries(&["tasks", "exec", "--exec-id", "", "one", "true"]);
    it.tries(&["tasks", "exec", "one", "true"]);
    it.tries(&["tasks", "exec", "-d", "--exec-id", "long", "one", "sleep", "1000"]);
    it.tries(&["tasks", "exec", "--exec-id", "long", "one", "true"]);
    it.tries(&["tasks", "rm", "--exec-id", "long", "one"]);
    it.ctr_of_processes(&["tasks", "ps", "one"]);
    it.tries(&["tasks", "kill", "--exec-id", "long", "-s", "KILL", "one"]);
    // Gone as soon as the shim has seen it.
    let removed = stowd_testing::process::wait_for(|| {
        it.command(&["tasks", "rm", "--exec-id", "long", "one"]).output().status.code() != Some(1)
    });
    assert!(removed, "the killed process is still there");
    it.tries(&["tasks", "rm", "--exec-id", "long", "one"]);
    it.ctr_of_processes(&["tasks", "ps", "one"]);
    it.quiet(&["tasks", "rm", "-f", "one"]);
}

fn tasks_in_the_wrong_state(it: &mut Session<'_>) {
    import(it);
    start(it, "one", "exec sleep 1000");
    it.tries(&["tasks", "resume", "one"]);
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "true"]);
    it.tries(&["tasks", "rm", "one"]);
    it.ctr_but_numbers(&["tasks", "ls"]);
    it.tries(&["tasks", "resume", "one"]);
    it.quiet(&["tasks", "metrics", "one"]);
    it.quiet(&["tasks", "metrics", "--format", "json", "one"]);
    it.tries(&["tasks", "kill", "-s", "KILL", "one"]);
    until(it, "one", "STOPPED");
    it.tries(&["tasks", "pause", "one"]);
    it.tries(&["tasks", "resume", "one"]);
    it.tries(&["tasks", "exec", "--exec-id", "e", "one", "true"]);
    it.quiet(&["tasks", "metrics", "one"]);
    it.tries(&["tasks", "ps", "one"]);
    it.tries(&["tasks", "start", "one"]);
    it.tries(&["tasks", "attach", "absent"]);
    it.tries(&["tasks", "start", "absent"]);
    it.tries(&["tasks", "ps", "absent"]);
    it.tries(&["tasks", "resume", "absent"]);
    it.quiet(&["tasks", "rm", "one"]);
}
