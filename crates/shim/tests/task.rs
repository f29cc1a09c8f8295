//! The task service, on real containers.

#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod driver;

use std::io::Write as _;

use driver::{Place, reader, writer};
use stowd_api::Any;
use stowd_api::events::TaskExit;
use stowd_api::status::Code;
use stowd_api::task::v3::*;
use stowd_api::types::task::Status;

const NONE: [&str; 3] = ["", "", ""];

/// Makes a test of each check for each runtime: what clients see must be the same.
macro_rules! on_each_runtime {
    ($($check:ident),+ $(,)?) => {
        mod linked {
            $(#[test] fn $check() {
                stowd_testing::need!(root, clients);
                super::$check(super::Place::linked());
            })+
        }
        mod runc {
            $(#[test] fn $check() {
                stowd_testing::need!(root, clients);
                super::$check(super::Place::runc());
            })+
        }
    };
}

on_each_runtime!(
    a_container_from_create_to_shutdown,
    more_processes_and_their_exits_before_inits,
    a_background_process_does_not_hold_a_deleted_ones_output,
    standard_input_ends_when_it_is_closed_and_not_before,
    a_terminal_is_copied_and_resized,
    events_wait_for_the_daemon,
    failures_leave_nothing_and_say_why,
    pausing_limits_and_measuring,
    a_pods_containers_share_a_shim,
    a_logger_gets_the_output_and_may_go,
);

fn a_container_from_create_to_shutdown(place: Place) {
    place.events.serve(&place.events_socket());
    place.script("web", "echo out; echo err >&2; exit 7");
    let (out, err) = (place.fifo("out"), place.fifo("err"));
    let (stdout, stderr) = (reader(&out), reader(&err));
    let mut shim = place.serve("web");
    let pid = shim.client.create(&place, "web", ["", &out, &err]).unwrap();
    let state = shim.client.state("web", "").unwrap();
    assert_eq!((state.status(), state.pid, &*state.id), (Status::Created, pid, "web"));
    let connected: ConnectResponse =
        shim.client.call("Connect", &ConnectRequest { id: "web".into() }).unwrap();
    assert_eq!(connected.task_pid, pid);
    assert_eq!(connected.shim_pid, shim.pid.as_raw_nonzero().get() as u32);
    assert_eq!(shim.client.start("web", "").unwrap(), pid);
    assert_eq!(shim.client.wait("web", "").unwrap(), 7);
    let state = shim.client.state("web", "").unwrap();
    assert_eq!((state.status(), state.exit_status), (Status::Stopped, 7));
    let refused = shim.client.kill("web", "", 9).unwrap_err();
    assert_eq!(refused.message, "process already finished: not found");
    // With a task left, it stays.
    let _: () = shim.client.call("Shutdown", &ShutdownRequest::default()).unwrap();
    let deleted = shim.client.delete("web", "").unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 7));
    assert_eq!(stdout.join().unwrap(), "out\n");
    assert_eq!(stderr.join().unwrap(), "err\n");
    assert_eq!(place.events.wait(4), ["create", "start", "exit", "delete"]);
    let missing = shim.client.state("web", "").unwrap_err();
    assert_eq!(missing.message, "container not created: not found");
    shim.shut_down(&place);
}

fn more_processes_and_their_exits_before_inits(place: Place) {
    place.events.serve(&place.events_socket());
    place.make("web", &["sleep", "1000"], |_| {});
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    client.create(&place, "web", NONE).unwrap();
    assert_eq!(
        client.exec("web", "early", &["true"], NONE).unwrap_err().message,
        "cannot exec in a created state"
    );
    client.start("web", "").unwrap();
    assert_eq!(client.start("web", "").unwrap_err().message, "cannot start a running process");
    assert_eq!(client.delete("web", "").unwrap_err().message, "cannot delete a running process");

    let out = place.fifo("out");
    let stdout = reader(&out);
    client.exec("web", "talk", &["sh", "-c", "echo hello; exit 3"], ["", &out, ""]).unwrap();
    let again = client.exec("web", "talk", &["true"], NONE).unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists as i32);
    assert_eq!(client.kill("web", "talk", 9).unwrap_err().code, Code::FailedPrecondition as i32);
    client.start("web", "talk").unwrap();
    assert_eq!(client.wait("web", "talk").unwrap(), 3);
    assert_eq!(client.delete("web", "talk").unwrap().exit_status, 3);
    assert_eq!(stdout.join().unwrap(), "hello\n");
    let missing = client.start("web", "talk").unwrap_err();
    assert_eq!(missing.message, "process does not exist talk: not found");

    client.exec("web", "wrong", &["no-such-program"], NONE).unwrap();
    let wrong = client.start("web", "wrong").unwrap_err();
    assert!(wrong.message.starts_with("OCI runtime exec failed: "), "{wrong}");
    assert!(wrong.message.contains("executable file not found in $PATH"), "{wrong}");
    client.delete("web", "wrong").unwrap();

    client.exec("web", "long", &["sleep", "1000"], NONE).unwrap();
    let pid = client.start("web", "long").unwrap();
    let pids: PidsResponse = client.call("Pids", &PidsRequest { id: "web".into() }).unwrap();
    assert_eq!(pids.processes.len(), 2);
    assert!(pids.processes.iter().any(|one| one.pid == pid && one.info.is_some()));
    let request = WaitRequest { id: "web".into(), exec_id: "long".into() };
    let waiting = client.send("Wait", &request);
    client.kill("web", "", 9).unwrap();
    assert_eq!(client.wait("web", "").unwrap(), 137);
    assert_eq!(client.answer::<WaitResponse>(waiting).unwrap().exit_status, 137);
    assert_eq!(client.delete("web", "long").unwrap().exit_status, 137);
    client.delete("web", "").unwrap();
    place.events.wait(11);
    let exits = place.events.all::<TaskExit>();
    assert_eq!(exits.iter().map(|exit| &*exit.id).collect::<Vec<_>>(), ["talk", "long", "web"]);
    shim.shut_down(&place);
}

fn a_background_process_does_not_hold_a_deleted_ones_output(place: Place) {
    place.make("web", &["sleep", "1000"], |_| {});
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    client.create(&place, "web", NONE).unwrap();
    client.start("web", "").unwrap();
    let out = place.fifo("out");
    let stdout = reader(&out);
    let script = "yes | head -n 100000; sleep 1000 &";
    client.exec("web", "loud", &["sh", "-c", script], ["", &out, ""]).unwrap();
    client.start("web", "loud").unwrap();
    assert_eq!(client.wait("web", "loud").unwrap(), 0);
    client.delete("web", "loud").unwrap();
    assert_eq!(stdout.join().unwrap().len(), 200_000);
    client.kill("web", "", 9).unwrap();
    client.wait("web", "").unwrap();
    client.delete("web", "").unwrap();
    shim.shut_down(&place);
}

fn standard_input_ends_when_it_is_closed_and_not_before(place: Place) {
    place.make("web", &["cat"], |_| {});
    let (input, out) = (place.fifo("in"), place.fifo("out"));
    let stdout = reader(&out);
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    client.create(&place, "web", [&input, &out, ""]).unwrap();
    client.start("web", "").unwrap();
    writer(&input).write_all(b"first ").unwrap();
    // The first client has gone; the process has not seen an end.
    let mut second = writer(&input);
    second.write_all(b"second").unwrap();
    let request = CloseIoRequest { id: "web".into(), stdin: true, ..Default::default() };
    let _: () = client.call("CloseIO", &request).unwrap();
    assert_eq!(client.state("web", "").unwrap().status(), Status::Running);
    drop(second);
    assert_eq!(client.wait("web", "").unwrap(), 0);
    client.delete("web", "").unwrap();
    assert_eq!(stdout.join().unwrap(), "first second");
    shim.shut_down(&place);
}

fn a_terminal_is_copied_and_resized(place: Place) {
    let script = "read line; stty size; test -t 1 && echo \"tty $line\"";
    place.make("web", &["sh", "-c", script], |spec| spec["process"]["terminal"] = true.into());
    let (input, out) = (place.fifo("in"), place.fifo("out"));
    let stdout = reader(&out);
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    let request = CreateTaskRequest {
        id: "web".into(),
        bundle: place.bundle("web").to_str().unwrap().into(),
        terminal: true,
        stdin: input.clone(),
        stdout: out.clone(),
        options: place.options.clone(),
        ..Default::default()
    };
    let _: CreateTaskResponse = client.call("Create", &request).unwrap();
    client.start("web", "").unwrap();
    let size = ResizePtyRequest { id: "web".into(), width: 101, height: 37, ..Default::default() };
    let _: () = client.call("ResizePty", &size).unwrap();
    writer(&input).write_all(b"typed\n").unwrap();
    assert_eq!(client.wait("web", "").unwrap(), 0);
    assert!(client.state("web", "").unwrap().terminal);
    client.delete("web", "").unwrap();
    assert_eq!(stdout.join().unwrap(), "typed\r\n37 101\r\ntty typed\r\n");
    shim.shut_down(&place);
}

fn events_wait_for_the_daemon(place: Place) {
    place.script("web", "exit 1");
    let mut shim = place.serve("web");
    shim.client.create(&place, "web", NONE).unwrap();
    shim.client.start("web", "").unwrap();
    assert_eq!(shim.client.wait("web", "").unwrap(), 1);
    // The daemon goes, and comes back at the same places.
    shim.client = driver::Client::connect(&shim.socket);
    assert_eq!(place.events.topics(), [""; 0]);
    place.events.serve(&place.events_socket());
    assert_eq!(place.events.wait(3), ["create", "start", "exit"]);
    assert_eq!(shim.client.state("web", "").unwrap().exit_status, 1);
    assert_eq!(shim.client.wait("web", "").unwrap(), 1);
    assert_eq!(shim.client.delete("web", "").unwrap().exit_status, 1);
    shim.shut_down(&place);
    assert_eq!(place.events.topics(), ["create", "start", "exit", "delete"]);
}

fn failures_leave_nothing_and_say_why(place: Place) {
    place.make("web", &["no-such-program"], |_| {});
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    let wrong = client.create(&place, "web", NONE).unwrap_err();
    let start =
        "OCI runtime create failed: runc create failed: unable to start container process: ";
    assert!(wrong.message.starts_with(start), "{wrong}");
    assert!(wrong.message.contains("executable file not found in $PATH"), "{wrong}");
    let wrong = client.create(&place, "web", ["", "/no/such/fifo", ""]).unwrap_err();
    assert!(wrong.message.contains("/no/such/fifo"), "{wrong}");
    let mut request = CreateTaskRequest { id: "web".into(), ..Default::default() };
    request.checkpoint = "/c".into();
    let wrong = client.call::<CreateTaskResponse>("Create", &request).unwrap_err();
    assert_eq!(wrong.code, Code::Unimplemented as i32);
    // The same name works afterwards.
    place.make("web", &["sleep", "1000"], |_| {});
    client.create(&place, "web", NONE).unwrap();
    let again = client.create(&place, "web", NONE).unwrap_err();
    assert_eq!(again.code, Code::AlreadyExists as i32);
    // One that was never started can be deleted.
    let waiting = client.send("Wait", &WaitRequest { id: "web".into(), ..Default::default() });
    client.delete("web", "").unwrap();
    assert_eq!(client.answer::<WaitResponse>(waiting).unwrap().exit_status, 137);
    shim.shut_down(&place);
}

fn pausing_limits_and_measuring(place: Place) {
    place.events.serve(&place.events_socket());
    place.make("web", &["sleep", "1000"], |_| {});
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    client.create(&place, "web", NONE).unwrap();
    client.start("web", "").unwrap();
    let _: () = client.call("Pause", &PauseRequest { id: "web".into() }).unwrap();
    assert_eq!(client.state("web", "").unwrap().status(), Status::Paused);
    assert_eq!(client.delete("web", "").unwrap_err().message, "cannot delete a paused process");
    let _: () = client.call("Resume", &ResumeRequest { id: "web".into() }).unwrap();
    assert_eq!(client.state("web", "").unwrap().status(), Status::Running);
    let resources = Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources".into(),
        value: r#"{"memory":{"limit":67108864}}"#.as_bytes().into(),
    };
    let request =
        UpdateTaskRequest { id: "web".into(), resources: Some(resources), ..Default::default() };
    let _: () = client.call("Update", &request).unwrap();
    let stats: StatsResponse = client.call("Stats", &StatsRequest { id: "web".into() }).unwrap();
    let stats = stats.stats.unwrap();
    let limit = match stats.unpack::<stowd_api::cgroups::v1::Metrics>().unwrap() {
        Some(metrics) => metrics.memory.unwrap().usage.unwrap().limit,
        None => {
            let metrics = stats.unpack::<stowd_api::cgroups::v2::Metrics>().unwrap().unwrap();
            metrics.memory.unwrap().usage_limit
        }
    };
    assert_eq!(limit, 64 << 20);
    client.kill("web", "", 15).unwrap();
    client.kill("web", "", 9).unwrap();
    assert_eq!(client.wait("web", "").unwrap(), 137);
    client.delete("web", "").unwrap();
    let expected = ["create", "start", "paused", "resumed", "exit", "delete"];
    assert_eq!(place.events.wait(6), expected);
    shim.shut_down(&place);
}

fn a_pods_containers_share_a_shim(place: Place) {
    place.make("pod", &["sleep", "1000"], |_| {});
    place.make("web", &["sh", "-c", "trap 'exit 5' TERM; echo ready; sleep 1000 & wait"], |_| {});
    let mut shim = place.serve("pod");
    let out = place.scratch.join("logs/web.log");
    let uri = format!("file://{}", out.display());
    let client = &mut shim.client;
    client.create(&place, "pod", NONE).unwrap();
    client.start("pod", "").unwrap();
    client.create(&place, "web", ["", &uri, &uri]).unwrap();
    client.start("web", "").unwrap();
    while std::fs::read_to_string(&out).unwrap() != "ready\n" {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    client.kill("web", "", 15).unwrap();
    assert_eq!(client.wait("web", "").unwrap(), 5);
    client.delete("web", "").unwrap();
    assert_eq!(client.state("pod", "").unwrap().status(), Status::Running);
    client.kill("pod", "", 9).unwrap();
    client.wait("pod", "").unwrap();
    client.delete("pod", "").unwrap();
    shim.shut_down(&place);
}

fn a_logger_gets_the_output_and_may_go(place: Place) {
    let script = "echo to-stdout; echo to-stderr >&2; read line; yes | head -n 100000; echo done";
    place.script("web", script);
    let (log, logger) = (place.scratch.join("log.txt"), place.scratch.join("logger"));
    let text = format!(
        "#!/bin/sh\nexec 5>&-\nread one <&3\nread two <&4\necho \"$CONTAINER_ID $1=$2 $one $two\" > {}\n",
        log.display()
    );
    std::fs::write(&logger, text).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o700);
    rustix::fs::chmod(&logger, mode).unwrap();
    let input = place.fifo("in");
    let uri = format!("binary://{}?key=value", logger.display());
    let mut shim = place.serve("web");
    let client = &mut shim.client;
    client.create(&place, "web", [&input, &uri, &uri]).unwrap();
    client.start("web", "").unwrap();
    while std::fs::read_to_string(&log).unwrap_or_default() != "web key=value to-stdout to-stderr\n"
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    writer(&input).write_all(b"go\n").unwrap();
    assert_eq!(client.wait("web", "").unwrap(), 0);
    client.delete("web", "").unwrap();
    shim.shut_down(&place);
}
