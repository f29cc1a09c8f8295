//! Rules of `stowd_core::tasks`, tried with real containers.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt as _;
use serde_json::json;
use stowd_core::events::{Event, Exchange};
use stowd_core::filters::Filters;
use stowd_core::tasks::{Exit, Reach, Status, Stdio, Tasks};
use stowd_core::{ErrorKind, Labels, Scope, containers};

use self::rig::{
    Streams, any, create, delete, end, exec, exec_request, kill, process, run, script, spec, start,
    state, status, task, try_create, wait,
};
use super::{Must as _, eventually, refused};

mod rig;

/// Tasks, with the containers they run and the events they cause.
pub struct Subject {
    /// The tasks.
    pub tasks: Arc<dyn Tasks>,
    /// Their containers.
    pub containers: Arc<dyn containers::Store>,
    /// Where they tell of themselves.
    pub exchange: Arc<dyn Exchange>,
    /// A namespace whose name nobody else uses: cgroups are named after it.
    pub scope: Scope,
    /// Another namespace.
    pub other: Scope,
    /// A folder for root file systems and fifos.
    pub folder: PathBuf,
}

super::checks!(Subject:
    a_created_task_has_a_process_that_waits,
    a_started_task_runs,
    exit_codes_are_reported,
    a_signal_ends_with_128_and_its_number,
    the_exit_is_kept_until_delete,
    the_exit_has_a_time,
    wait_may_come_before_and_after_the_end,
    a_task_exists_once,
    a_task_needs_a_container,
    a_process_starts_once,
    unknown_tasks_are_not_found,
    a_running_task_cannot_be_deleted,
    a_created_task_can_be_deleted,
    a_deleted_task_is_gone,
    a_task_can_be_made_again,
    a_missing_program_is_named,
    a_failed_creation_leaves_nothing,
    tasks_belong_to_their_namespace,
    tasks_are_listed,
    output_goes_to_fifos,
    output_goes_to_files,
    a_task_without_streams_runs,
    input_comes_from_a_fifo,
    closing_input_ends_it,
    streams_are_answered,
    a_terminal_is_one,
    a_terminal_has_a_size,
    signals_arrive,
    killing_a_finished_task_is_not_found,
    a_signal_for_all_reaches_all,
    paused_tasks_stand_still,
    pause_and_resume_answer_for_the_state,
    pids_are_those_of_the_task,
    metrics_are_of_the_task,
    limits_can_change,
    an_exec_runs_in_the_task,
    an_exec_has_its_own_exit,
    an_exec_has_its_own_streams,
    an_exec_id_is_taken_once,
    an_exec_needs_a_running_task,
    a_missing_program_of_an_exec_is_named,
    an_exec_can_be_killed_alone,
    deleting_the_task_ends_its_execs,
    events_come_in_order,
    events_of_execs_come_in_order,
    memory_beyond_the_limit_is_told,
    many_tasks_run_at_once,
    nothing_is_left_after_delete,
);

const FOREVER: &str = "while :; do sleep 1; done";

async fn a_created_task_has_a_process_that_waits(it: &Subject) {
    let pid = create(it, "c", &script(it, "c", "exit 0"), Stdio::default()).await;
    assert!(pid > 0);
    let made = state(it, "c", "").await;
    assert_eq!((made.pid, made.status, made.exit), (pid, Status::Created, None));
    assert!(fs::exists(format!("/proc/{pid}")).unwrap(), "no process {pid}");
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
}

async fn a_started_task_runs(it: &Subject) {
    let made = create(it, "c", &script(it, "c", FOREVER), Stdio::default()).await;
    let started = start(it, "c").await;
    assert_eq!(started, made);
    let running = state(it, "c", "").await;
    assert_eq!((running.pid, running.status), (made, Status::Running));
    assert_eq!(running.container_id, "c");
    end(it, "c").await;
}

async fn exit_codes_are_reported(it: &Subject) {
    for code in [0, 1, 7, 255] {
        let id = format!("c{code}");
        let pid = run(it, &id, &format!("exit {code}")).await;
        let exit = wait(it, &id, "").await;
        assert_eq!(exit.status, code);
        let deleted = delete(it, &id).await;
        assert_eq!((deleted.pid, deleted.status), (pid, code));
    }
}

async fn a_signal_ends_with_128_and_its_number(it: &Subject) {
    for signal in [9, 15] {
        let id = format!("c{signal}");
        // The first process of a pid namespace only dies of signals that it does not ignore.
        run(it, &id, &format!("trap 'trap - TERM; exit 143' TERM; {FOREVER}")).await;
        kill(it, &id, signal).await;
        assert_eq!(wait(it, &id, "").await.status, 128 + signal);
        delete(it, &id).await;
    }
}

async fn the_exit_is_kept_until_delete(it: &Subject) {
    run(it, "c", "exit 3").await;
    let first = wait(it, "c", "").await;
    let stopped = state(it, "c", "").await;
    assert_eq!(stopped.status, Status::Stopped);
    assert_eq!(stopped.exit.map(|exit| exit.status), Some(3));
    assert_eq!(wait(it, "c", "").await.status, first.status);
    assert_eq!(delete(it, "c").await.status, 3);
}

async fn the_exit_has_a_time(it: &Subject) {
    let before = SystemTime::now() - Duration::from_secs(1);
    run(it, "c", "exit 0").await;
    let Exit { at, .. } = wait(it, "c", "").await;
    let after = SystemTime::now() + Duration::from_secs(1);
    assert!(before <= at && at <= after, "{at:?}");
    assert_eq!(delete(it, "c").await.at, at);
}

async fn wait_may_come_before_and_after_the_end(it: &Subject) {
    create(it, "c", &script(it, "c", "sleep 0.3; exit 5"), Stdio::default()).await;
    let early = async { wait(it, "c", "").await };
    let later = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        start(it, "c").await
    };
    let (exit, _) = tokio::join!(early, later);
    assert_eq!(exit.status, 5);
    assert_eq!(wait(it, "c", "").await, exit);
    delete(it, "c").await;
}

async fn a_task_exists_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(
        it.tasks.create(&it.scope, task(it, "c", Stdio::default())).await,
        &[ErrorKind::AlreadyExists],
    );
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

async fn a_task_needs_a_container(it: &Subject) {
    refused(
        it.tasks.create(&it.scope, task(it, "nobody", Stdio::default())).await,
        &[ErrorKind::NotFound],
    );
}

async fn a_process_starts_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(
        it.tasks.start(&it.scope, "c", "").await,
        &[ErrorKind::FailedPrecondition, ErrorKind::Unknown],
    );
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

async fn unknown_tasks_are_not_found(it: &Subject) {
    let (tasks, scope) = (&it.tasks, &it.scope);
    refused(tasks.start(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.get(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.delete(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.kill(scope, "x", "", 9, Reach::Process).await, &[ErrorKind::NotFound]);
    refused(tasks.pause(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.resume(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.pids(scope, "x").await, &[ErrorKind::NotFound]);
    refused(tasks.wait(scope, "x", "").await, &[ErrorKind::NotFound]);
    refused(tasks.resize(scope, "x", "", 80, 25).await, &[ErrorKind::NotFound]);
    refused(tasks.close_stdin(scope, "x", "").await, &[ErrorKind::NotFound]);
    let wanted = exec_request("x", "e", &process(&["true"]), Stdio::default());
    refused(tasks.exec(scope, wanted).await, &[ErrorKind::NotFound]);
    run(it, "c", FOREVER).await;
    refused(tasks.get(scope, "c", "no-exec").await, &[ErrorKind::NotFound]);
    refused(tasks.start(scope, "c", "no-exec").await, &[ErrorKind::NotFound]);
    end(it, "c").await;
}

async fn a_running_task_cannot_be_deleted(it: &Subject) {
    run(it, "c", FOREVER).await;
    // containerd's shim knows no kind for it.
    let kinds = [ErrorKind::FailedPrecondition, ErrorKind::Unknown];
    refused(it.tasks.delete(&it.scope, "c", "").await, &kinds);
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

async fn a_created_task_can_be_deleted(it: &Subject) {
    let pid = create(it, "c", &script(it, "c", "exit 0"), Stdio::default()).await;
    delete(it, "c").await;
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    eventually("the process that waited is gone", || async move {
        !fs::exists(format!("/proc/{pid}/root")).unwrap()
    })
    .await;
}

async fn a_deleted_task_is_gone(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    refused(it.tasks.delete(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
}

async fn a_task_can_be_made_again(it: &Subject) {
    run(it, "c", "exit 1").await;
    wait(it, "c", "").await;
    it.tasks.delete(&it.scope, "c", "").await.must("deleting");
    // The container is still there, and its task starts afresh.
    it.tasks.create(&it.scope, task(it, "c", Stdio::default())).await.must("creating");
    start(it, "c").await;
    assert_eq!(wait(it, "c", "").await.status, 1);
    delete(it, "c").await;
}

async fn a_missing_program_is_named(it: &Subject) {
    // Clients look for these words to tell exit status 127 from others.
    let wanted = spec(it, "c", process(&["no-such-program"]));
    let error = try_create(it, "c", &wanted, Stdio::default()).await.unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    let wanted = spec(it, "d", process(&["/no/such/program"]));
    let error = try_create(it, "d", &wanted, Stdio::default()).await.unwrap_err().to_string();
    assert!(error.contains("no such file or directory"), "{error}");
}

async fn a_failed_creation_leaves_nothing(it: &Subject) {
    let wanted = spec(it, "c", process(&["no-such-program"]));
    try_create(it, "c", &wanted, Stdio::default()).await.unwrap_err();
    refused(it.tasks.get(&it.scope, "c", "").await, &[ErrorKind::NotFound]);
    it.containers.delete(&it.scope, "c").await.must("deleting the container");
    // The same id works at the next attempt.
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
}

async fn tasks_belong_to_their_namespace(it: &Subject) {
    run(it, "c", FOREVER).await;
    refused(it.tasks.get(&it.other, "c", "").await, &[ErrorKind::NotFound]);
    refused(it.tasks.kill(&it.other, "c", "", 9, Reach::Process).await, &[ErrorKind::NotFound]);
    let there = it.tasks.list(&it.other, &Filters::default()).await.must("listing");
    assert_eq!(there, []);
    end(it, "c").await;
}

async fn tasks_are_listed(it: &Subject) {
    let pid = run(it, "a", FOREVER).await;
    create(it, "b", &script(it, "b", "exit 0"), Stdio::default()).await;
    let mut listed = it.tasks.list(&it.scope, &Filters::default()).await.must("listing");
    listed.sort_by(|one, two| one.container_id.cmp(&two.container_id));
    let seen: Vec<(&str, Status)> =
        listed.iter().map(|task| (task.container_id.as_str(), task.status)).collect();
    assert_eq!(seen, [("a", Status::Running), ("b", Status::Created)]);
    assert_eq!(listed[0].pid, pid);
    end(it, "a").await;
    delete(it, "b").await;
}

async fn output_goes_to_fifos(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    let text = "echo out; echo err >&2; yes | head -c 300000";
    create(it, "c", &script(it, "c", text), streams.stdio.clone()).await;
    start(it, "c").await;
    wait(it, "c", "").await;
    let deleted = delete(it, "c").await;
    assert_eq!(deleted.status, 0);
    let output = streams.output();
    assert_eq!(output.len(), 300_004, "{:.100}", output);
    assert!(output.starts_with("out\ny\ny\n"));
    assert_eq!(streams.errors(), "err\n");
}

async fn output_goes_to_files(it: &Subject) {
    let path = it.folder.join("log.txt");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Default::default() };
    create(it, "c", &script(it, "c", "echo to the file"), stdio).await;
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(fs::read_to_string(path).unwrap(), "to the file\n");
}

async fn a_task_without_streams_runs(it: &Subject) {
    run(it, "c", "echo nowhere; echo nowhere >&2; cat; exit 4").await;
    assert_eq!(wait(it, "c", "").await.status, 4);
    delete(it, "c").await;
}

async fn input_comes_from_a_fifo(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", "read line; echo \"got $line\""), streams.stdio.clone()).await;
    start(it, "c").await;
    streams.write("a line\n");
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "got a line\n");
}

async fn closing_input_ends_it(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", "cat; echo end"), streams.stdio.clone()).await;
    start(it, "c").await;
    streams.write("all of it\n");
    it.tasks.close_stdin(&it.scope, "c", "").await.must("closing standard input");
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "all of it\nend\n");
}

async fn streams_are_answered(it: &Subject) {
    let streams = Streams::new(it, "c", false);
    create(it, "c", &script(it, "c", FOREVER), streams.stdio.clone()).await;
    assert_eq!(state(it, "c", "").await.stdio, streams.stdio);
    start(it, "c").await;
    end(it, "c").await;
}

async fn a_terminal_is_one(it: &Subject) {
    let mut streams = Streams::new(it, "c", true);
    let mut wanted = script(it, "c", "tty; test -t 0 && test -t 1 && test -t 2 && echo all");
    wanted["process"]["terminal"] = json!(true);
    create(it, "c", &wanted, streams.stdio.clone()).await;
    assert!(state(it, "c", "").await.stdio.terminal);
    start(it, "c").await;
    wait(it, "c", "").await;
    delete(it, "c").await;
    assert_eq!(streams.output(), "/dev/pts/0\r\nall\r\n");
}

async fn a_terminal_has_a_size(it: &Subject) {
    let mut streams = Streams::new(it, "c", true);
    let mut wanted = script(it, "c", "read go; stty size");
    wanted["process"]["terminal"] = json!(true);
    create(it, "c", &wanted, streams.stdio.clone()).await;
    start(it, "c").await;
    it.tasks.resize(&it.scope, "c", "", 123, 45).await.must("resizing");
    streams.write("go\n");
    wait(it, "c", "").await;
    delete(it, "c").await;
    let output = streams.output();
    assert!(output.contains("45 123"), "{output:?}");
}

async fn signals_arrive(it: &Subject) {
    let mut streams = Streams::new(it, "c", false);
    let text = format!("trap 'echo hup' HUP; trap 'exit 9' USR1; echo ready; {FOREVER}");
    create(it, "c", &script(it, "c", &text), streams.stdio.clone()).await;
    start(it, "c").await;
    // Long enough for the shell to have set its traps.
    tokio::time::sleep(Duration::from_millis(500)).await;
    kill(it, "c", 1).await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    kill(it, "c", 10).await;
    assert_eq!(wait(it, "c", "").await.status, 9);
    delete(it, "c").await;
    assert_eq!(streams.output(), "ready\nhup\n");
}

async fn killing_a_finished_task_is_not_found(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    refused(it.tasks.kill(&it.scope, "c", "", 15, Reach::Process).await, &[ErrorKind::NotFound]);
    delete(it, "c").await;
}

async fn a_signal_for_all_reaches_all(it: &Subject) {
    run(it, "c", &format!("sleep 1000 & sleep 1000 & {FOREVER}")).await;
    it.tasks.kill(&it.scope, "c", "", 9, Reach::All).await.must("killing all");
    assert_eq!(wait(it, "c", "").await.status, 137);
    delete(it, "c").await;
}

async fn paused_tasks_stand_still(it: &Subject) {
    let path = it.folder.join("ticks");
    let uri = format!("file://{}", path.display());
    let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Default::default() };
    create(it, "c", &script(it, "c", "while :; do echo tick; sleep 0.05; done"), stdio).await;
    start(it, "c").await;
    let ticks = || fs::metadata(&path).map_or(0, |meta| meta.len());
    eventually("the task prints", || async { ticks() > 0 }).await;
    it.tasks.pause(&it.scope, "c").await.must("pausing");
    assert_eq!(status(it, "c").await, Status::Paused);
    // What was printed before may still be on its way to the file.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = ticks();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ticks(), before);
    it.tasks.resume(&it.scope, "c").await.must("resuming");
    assert_eq!(status(it, "c").await, Status::Running);
    eventually("the task goes on printing", || async { ticks() > before }).await;
    end(it, "c").await;
}

async fn pause_and_resume_answer_for_the_state(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    let wrong = [ErrorKind::FailedPrecondition, ErrorKind::NotFound, ErrorKind::Unknown];
    refused(it.tasks.pause(&it.scope, "c").await, &wrong);
    refused(it.tasks.resume(&it.scope, "c").await, &wrong);
    delete(it, "c").await;
}

async fn pids_are_those_of_the_task(it: &Subject) {
    let pid = run(it, "c", &format!("sleep 1000 & {FOREVER}")).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    let other = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    eventually("all processes are seen", || async {
        let pids = it.tasks.pids(&it.scope, "c").await.must("pids");
        let has = |wanted| pids.iter().any(|it| it.pid == wanted);
        pids.len() >= 3 && has(pid) && has(other)
    })
    .await;
    end(it, "c").await;
}

async fn metrics_are_of_the_task(it: &Subject) {
    run(it, "c", FOREVER).await;
    let filters = Filters::parse(&["id==c"]).must("a filter");
    let metrics = it.tasks.metrics(&it.scope, &filters).await.must("metrics");
    assert_eq!(metrics.len(), 1, "{metrics:?}");
    assert_eq!(metrics[0].id, "c");
    let kind = &metrics[0].data.type_url;
    assert!(kind.starts_with("io.containerd.cgroups.v"), "{kind}");
    assert!(!metrics[0].data.value.is_empty(), "no numbers");
    end(it, "c").await;
}

async fn limits_can_change(it: &Subject) {
    let pid = run(it, "c", FOREVER).await;
    let resources = any(
        "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources",
        &json!({ "pids": { "limit": 33 } }),
    );
    it.tasks.update(&it.scope, "c", resources, Labels::new()).await.must("updating");
    assert_eq!(pids_limit(pid), "33");
    end(it, "c").await;
}

/// Reads a process's limit of processes from its own cgroup, v1 or v2.
fn pids_limit(pid: u32) -> String {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (kinds, path) = (parts.next()?, parts.next()?);
            let top = match kinds {
                "pids" => "/sys/fs/cgroup/pids",
                "" => "/sys/fs/cgroup",
                _ => return None,
            };
            fs::read_to_string(format!("{top}{path}/pids.max")).ok()
        })
        .next()
        .unwrap_or_else(|| panic!("no pids cgroup in {groups}"))
        .trim()
        .to_owned()
}

async fn an_exec_runs_in_the_task(it: &Subject) {
    run(it, "c", &format!("echo here > /tmp/mark; {FOREVER}")).await;
    let mut streams = Streams::new(it, "e", false);
    let wanted = process(&["sh", "-c", "until cat /tmp/mark; do :; done; hostname"]);
    exec(it, "c", "e", &wanted, streams.stdio.clone()).await;
    let made = state(it, "c", "e").await;
    assert_eq!((made.exec_id.as_str(), made.status), ("e", Status::Created));
    let pid = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    assert!(pid > 0);
    wait(it, "c", "e").await;
    let exit = it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!((exit.pid, exit.status), (pid, 0));
    assert_eq!(streams.output().lines().last(), Some("hold"));
    refused(it.tasks.get(&it.scope, "c", "e").await, &[ErrorKind::NotFound]);
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

async fn an_exec_has_its_own_exit(it: &Subject) {
    run(it, "c", FOREVER).await;
    for code in [0, 3, 255] {
        let id = format!("e{code}");
        let wanted = process(&["sh", "-c", &format!("exit {code}")]);
        exec(it, "c", &id, &wanted, Stdio::default()).await;
        it.tasks.start(&it.scope, "c", &id).await.must("starting");
        assert_eq!(wait(it, "c", &id).await.status, code);
        let stopped = state(it, "c", &id).await;
        assert_eq!(stopped.exit.map(|exit| exit.status), Some(code));
        let exit = it.tasks.delete(&it.scope, "c", &id).await.must("deleting the exec");
        assert_eq!(exit.status, code);
    }
    end(it, "c").await;
}

async fn an_exec_has_its_own_streams(it: &Subject) {
    run(it, "c", FOREVER).await;
    let mut streams = Streams::new(it, "e", false);
    let wanted = process(&["sh", "-c", "cat; echo err >&2"]);
    exec(it, "c", "e", &wanted, streams.stdio.clone()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    streams.write("through\n");
    it.tasks.close_stdin(&it.scope, "c", "e").await.must("closing standard input");
    wait(it, "c", "e").await;
    it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!(streams.output(), "through\n");
    assert_eq!(streams.errors(), "err\n");
    end(it, "c").await;
}

async fn an_exec_id_is_taken_once(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    let again = exec_request("c", "e", &process(&["true"]), Stdio::default());
    refused(it.tasks.exec(&it.scope, again).await, &[ErrorKind::AlreadyExists]);
    end(it, "c").await;
}

async fn an_exec_needs_a_running_task(it: &Subject) {
    run(it, "c", "exit 0").await;
    wait(it, "c", "").await;
    let wanted = exec_request("c", "e", &process(&["true"]), Stdio::default());
    let made = it.tasks.exec(&it.scope, wanted).await;
    if made.is_ok() {
        // Some refuse when the exec starts, not when it is made.
        assert!(it.tasks.start(&it.scope, "c", "e").await.is_err(), "exec in a finished task");
    }
    delete(it, "c").await;
}

async fn a_missing_program_of_an_exec_is_named(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["no-such-program"]), Stdio::default()).await;
    let error = it.tasks.start(&it.scope, "c", "e").await.unwrap_err().to_string();
    assert!(error.contains("no-such-program"), "{error}");
    assert!(error.contains("executable file not found in $PATH"), "{error}");
    end(it, "c").await;
}

async fn an_exec_can_be_killed_alone(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    it.tasks.start(&it.scope, "c", "e").await.must("starting");
    it.tasks.kill(&it.scope, "c", "e", 9, Reach::Process).await.must("killing the exec");
    assert_eq!(wait(it, "c", "e").await.status, 137);
    it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
    assert_eq!(status(it, "c").await, Status::Running);
    end(it, "c").await;
}

async fn deleting_the_task_ends_its_execs(it: &Subject) {
    run(it, "c", FOREVER).await;
    exec(it, "c", "e", &process(&["sleep", "1000"]), Stdio::default()).await;
    let pid = it.tasks.start(&it.scope, "c", "e").await.must("starting");
    end(it, "c").await;
    eventually("the exec's process is gone", || async move {
        !fs::exists(format!("/proc/{pid}/root")).unwrap()
    })
    .await;
}

/// Collects what is told of a task while `act` runs, up to the deletion of the process `last`.
async fn told(it: &Subject, last: &str, act: impl Future<Output = ()>) -> Vec<Event> {
    let filter = format!("namespace=={},topic~=|^/tasks/|", it.scope.namespace);
    let filters = Filters::parse(&[filter]).must("a filter");
    let mut stream = it.exchange.subscribe(filters).await.must("subscribing");
    tokio::time::sleep(Duration::from_millis(150)).await;
    act.await;
    let mut events = Vec::new();
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), stream.next())
            .await
            .unwrap_or_else(|_| panic!("no more events after {events:?}"))
            .expect("the stream goes on")
            .must("an event")
            .event;
        let ends = matches!(&event, Event::TaskDelete { id, container_id, .. }
            if id == last || (id.is_empty() && container_id == last));
        events.push(event);
        if ends {
            return events;
        }
    }
}

async fn events_come_in_order(it: &Subject) {
    let events = told(it, "c", async {
        run(it, "c", "exit 6").await;
        wait(it, "c", "").await;
        delete(it, "c").await;
    })
    .await;
    let topics: Vec<&str> = events.iter().filter_map(Event::topic).collect();
    assert_eq!(topics, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    let [
        Event::TaskCreate { container_id, pid, rootfs, .. },
        Event::TaskStart { pid: started, .. },
        Event::TaskExit { container_id: whose, id, pid: ended, exit_status, .. },
        Event::TaskDelete { pid: deleted, exit_status: kept, .. },
    ] = &events[..]
    else {
        panic!("{events:?}");
    };
    assert_eq!((container_id.as_str(), rootfs.len()), ("c", 1));
    assert!(pid == started && started == ended && ended == deleted, "{events:?}");
    assert_eq!((whose.as_str(), id.as_str()), ("c", "c"));
    assert_eq!((*exit_status, *kept), (6, 6));
}

async fn events_of_execs_come_in_order(it: &Subject) {
    let events = told(it, "c", async {
        run(it, "c", FOREVER).await;
        exec(it, "c", "e", &process(&["sh", "-c", "exit 2"]), Stdio::default()).await;
        it.tasks.start(&it.scope, "c", "e").await.must("starting");
        wait(it, "c", "e").await;
        it.tasks.delete(&it.scope, "c", "e").await.must("deleting the exec");
        end(it, "c").await;
    })
    .await;
    let of_exec: Vec<&str> = events
        .iter()
        .filter(|event| match event {
            Event::TaskExecAdded { .. } | Event::TaskExecStarted { .. } => true,
            Event::TaskExit { id, .. } => id == "e",
            _ => false,
        })
        .filter_map(Event::topic)
        .collect();
    assert_eq!(of_exec, ["/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"]);
    let exits = events.iter().filter(|event| matches!(event, Event::TaskExit { .. })).count();
    assert_eq!(exits, 2, "one exit for each process: {events:?}");
}

async fn memory_beyond_the_limit_is_told(it: &Subject) {
    let events = told(it, "c", async {
        let mut wanted = script(it, "c", "tail /dev/zero & wait $!; exit $?");
        wanted["linux"]["resources"]["memory"] = json!({ "limit": 16 << 20, "swap": 16 << 20 });
        let devices = json!([
            { "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 1, "minor": 5, "access": "rwm" }
        ]);
        wanted["linux"]["resources"]["devices"] = devices;
        create(it, "c", &wanted, Stdio::default()).await;
        start(it, "c").await;
        assert_eq!(wait(it, "c", "").await.status, 137);
        // The kernel's word of it and the exit take different ways.
        tokio::time::sleep(Duration::from_millis(500)).await;
        delete(it, "c").await;
    })
    .await;
    assert!(events.iter().any(|it| matches!(it, Event::TaskOOM { .. })), "{events:?}");
}

async fn many_tasks_run_at_once(it: &Subject) {
    let all: Vec<String> = (0..8).map(|number| format!("c{number}")).collect();
    let each = all.iter().enumerate().map(|(number, id)| async move {
        run(it, id, &format!("exit {number}")).await;
        assert_eq!(wait(it, id, "").await.status as usize, number);
        delete(it, id).await;
    });
    futures_util::future::join_all(each).await;
}

async fn nothing_is_left_after_delete(it: &Subject) {
    let pid = run(it, "c", FOREVER).await;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(groups.contains(it.scope.namespace.as_str()), "not in a cgroup of its own: {groups}");
    end(it, "c").await;
    eventually("its cgroups are gone", || async {
        let mut left = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
        !left.any(|top| top.path().join(it.scope.namespace.as_str()).join("c").exists())
    })
    .await;
    eventually("its mounts are gone", || async {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        !table.contains(&format!("/{}/c/", it.scope.namespace))
    })
    .await;
}
