//! The task service: what each call does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::process::Pid;
use stowd_api::events::{
    TaskDelete, TaskExecAdded, TaskExecStarted, TaskExit, TaskPaused, TaskResumed, TaskStart,
};
use stowd_api::rpc::Status;
use stowd_api::runc::v1::ProcessDetails;
use stowd_api::task::v2;
use stowd_api::task::v3::{
    CloseIoRequest, ConnectRequest, ConnectResponse, DeleteRequest, DeleteResponse,
    ExecProcessRequest, KillRequest, PauseRequest, PidsRequest, PidsResponse, ResizePtyRequest,
    ResumeRequest, ShutdownRequest, StartRequest, StartResponse, StateRequest, StatsRequest,
    StatsResponse, UpdateTaskRequest, WaitRequest, WaitResponse, task_names as names,
};
use stowd_api::ttrpc::Call;
use stowd_api::types::task::ProcessInfo;
use stowd_api::{Any, Message, status};
use stowd_oci_runtime::spec::Process as ProcessSpec;

use crate::container::{Caller, Container, Exit, Phase, Process};
use crate::copier::Progress;
use crate::engine::{Terminal, Whom};
use crate::failure::{Result, already_exists, failed, invalid, not_found, unimplemented};
use crate::serve::{Shim, wait_for};
use crate::stdio::{Descendants, Places, Unread};
use crate::{clock, log, stats};

/// How long deleting a process waits for a client that is slow to read its output: containerd's.
const DRAIN: Duration = Duration::from_secs(2);
/// How long a delete waits for output that lies in a fifo which nobody has open. A client that runs
/// behind has yet to open it, and the fifo's content goes with the shim's end; one that is detached
/// never will.
const UNREAD: Duration = Duration::from_millis(200);
/// How often it looks meanwhile.
const LOOK: Duration = Duration::from_millis(1);
/// How often it looks after that, for a client that is there.
const LOOK_LATER: Duration = Duration::from_millis(10);

/// What a call is answered.
pub(crate) enum Answer {
    /// An encoded message.
    Message(Bytes),
    Error(Status),
    /// Something else has to happen first.
    Later,
}

/// A process that is deleted as soon as its output has been read, or the time is up.
#[derive(Debug)]
pub(crate) struct PendingDelete {
    deadline: Instant,
    /// Until when output may lie in a fifo that nobody has open.
    unread_until: Instant,
    id: String,
    exec_id: String,
    caller: Caller,
}

impl PendingDelete {
    /// When to look again, though nothing came in: that a fifo has been read is told to nobody.
    pub(crate) fn next_look(&self, now: Instant) -> Instant {
        let pause = if now < self.unread_until { LOOK } else { LOOK_LATER };
        (now + pause).min(self.deadline)
    }
}

impl Shim {
    /// Does what a call asks for.
    pub(crate) fn answer(&mut self, call: &Call, caller: Caller) -> Answer {
        let known = matches!(&*call.service, names::SERVICE | v2::task_names::SERVICE);
        let payload = || call.payload.clone();
        let answer = match &*call.method {
            _ if !known => Err(status::unimplemented(&call.service, &call.method)),
            names::STATE => with(payload(), |request| self.state(&request)),
            names::CREATE => with(payload(), |request| self.create(request)),
            names::START => with(payload(), |request| self.start(&request)),
            names::PIDS => with(payload(), |request| self.pids(&request)),
            names::PAUSE => with(payload(), |request| self.pause(&request)),
            names::RESUME => with(payload(), |request| self.resume(&request)),
            names::CHECKPOINT => Err(unimplemented("checkpoint")),
            names::KILL => with(payload(), |request| self.kill(&request)),
            names::EXEC => with(payload(), |request| self.exec(request)),
            names::RESIZE_PTY => with(payload(), |request| self.resize(&request)),
            names::CLOSE_IO => with(payload(), |request| self.close_io(&request)),
            names::UPDATE => with(payload(), |request| self.update(&request)),
            names::STATS => with(payload(), |request| self.stats(&request)),
            names::CONNECT => with(payload(), |request| Ok(self.connect(&request))),
            names::SHUTDOWN => with(payload(), |request| {
                self.shutdown(&request);
                Ok(())
            }),
            names::DELETE => decode(payload()).and_then(|request| self.delete(request, caller)),
            names::WAIT => decode(payload()).and_then(|request| self.wait(&request, caller)),
            _ => Err(status::unimplemented(&call.service, &call.method)),
        };
        answer.unwrap_or_else(Answer::Error)
    }

    /// Finds a container.
    pub(crate) fn container(&mut self, id: &str) -> Result<&mut Container> {
        self.containers.get_mut(id).ok_or_else(|| not_found("container not created"))
    }

    fn state(&mut self, request: &StateRequest) -> Result<stowd_api::task::v3::StateResponse> {
        let container = self.container(&request.id)?;
        Ok(container.state(container.process(&request.exec_id)?))
    }

    fn start(&mut self, request: &StartRequest) -> Result<StartResponse> {
        let container = self.container(&request.id)?;
        match container.process(&request.exec_id)?.phase {
            Phase::Created => {}
            Phase::Running if container.paused => {
                return Err(failed("cannot start a paused process"));
            }
            Phase::Running => return Err(failed("cannot start a running process")),
            Phase::Exited(_) => return Err(failed("cannot start a stopped process")),
        }
        match request.exec_id.is_empty() {
            true => self.start_init(&request.id),
            false => self.start_exec(&request.id, &request.exec_id),
        }
    }

    fn start_init(&mut self, id: &str) -> Result<StartResponse> {
        let container = self.container(id)?;
        let warnings = container.handle_mut()?.start()?;
        container.init.phase = Phase::Running;
        let pid = container.init.pid_number();
        warn(id, &warnings);
        self.publisher.push("/tasks/start", &TaskStart { container_id: id.to_owned(), pid });
        self.started.push(id.to_owned());
        Ok(StartResponse { pid })
    }

    fn start_exec(&mut self, id: &str, exec_id: &str) -> Result<StartResponse> {
        let namespace = self.namespace.clone();
        let container = self.container(id)?;
        let (places, spec) = {
            let process = container.process(exec_id)?;
            (process.places.clone(), process.spec.clone())
        };
        let mut opened = places.open(id, &namespace, Descendants::Remain)?;
        let terminal = if places.terminal { Terminal::New } else { Terminal::None };
        let executed = match container.handle()?.exec(&spec, terminal, opened.take_stdio()) {
            Ok(executed) => executed,
            Err(error) => {
                // Whoever waits for it already must not do so for ever.
                let waiters = {
                    let process = container.process_mut(exec_id)?;
                    process.phase = Phase::Exited(Exit { status: 255, at: clock::now() });
                    std::mem::take(&mut process.waiters)
                };
                self.answer_waiters(waiters, &Exit { status: 255, at: clock::now() });
                return Err(error);
            }
        };
        let process = container.process_mut(exec_id)?;
        process.phase = Phase::Running;
        let (number, pidfd) = executed.made;
        process.pid = Some(number);
        process.pidfd = Some(pidfd);
        let pid = process.pid_number();
        warn(id, &executed.warnings);
        let connected = opened.connect(executed.console, &self.poller, &mut self.copies);
        match connected {
            Ok(streams) => self.container(id)?.process_mut(exec_id)?.streams = streams,
            // It runs; its exit must be told like any other's.
            Err(error) => log::error("a process has no I/O", &[("id", &id), ("error", &error)]),
        }
        let (container_id, exec_id) = (id.to_owned(), exec_id.to_owned());
        self.publisher.push("/tasks/exec-started", &TaskExecStarted { container_id, exec_id, pid });
        Ok(StartResponse { pid })
    }

    fn exec(&mut self, request: ExecProcessRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        if request.exec_id.is_empty() {
            return Err(invalid("no exec id"));
        }
        if container.execs.contains_key(&request.exec_id) {
            return Err(already_exists(format_args!("id {}", request.exec_id)));
        }
        match container.init.phase {
            Phase::Running if container.paused => {
                return Err(failed("cannot exec in a paused state"));
            }
            Phase::Running => {}
            Phase::Created => return Err(failed("cannot exec in a created state")),
            Phase::Exited(_) => return Err(failed("cannot exec in a stopped state")),
        }
        let spec = request.spec.ok_or_else(|| invalid("no process specification"))?;
        ProcessSpec::parse(&spec.value).map_err(|error| invalid(&error))?;
        let places = Places {
            stdin: request.stdin,
            stdout: request.stdout,
            stderr: request.stderr,
            terminal: request.terminal,
        };
        let mut process = Process::new(request.exec_id.clone(), places);
        process.spec = spec.value;
        container.execs.insert(request.exec_id.clone(), process);
        let event = TaskExecAdded { container_id: request.id, exec_id: request.exec_id };
        self.publisher.push("/tasks/exec-added", &event);
        Ok(())
    }

    fn pids(&mut self, request: &PidsRequest) -> Result<PidsResponse> {
        let container = self.container(&request.id)?;
        let pids = container.handle()?.pids()?;
        let detail = |pid: Pid| {
            let exec = container.execs.values().find(|process| process.pid == Some(pid))?;
            Some(Any::pack(&ProcessDetails { exec_id: exec.exec_id.clone() }))
        };
        let processes = pids
            .into_iter()
            .map(|pid| ProcessInfo {
                pid: pid.as_raw_nonzero().get().unsigned_abs(),
                info: detail(pid),
            })
            .collect();
        Ok(PidsResponse { processes })
    }

    fn pause(&mut self, request: &PauseRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        match container.init.phase {
            Phase::Running if container.paused => {
                return Err(failed("cannot pause a paused container"));
            }
            Phase::Running => {}
            Phase::Created => return Err(failed("cannot pause task in created state")),
            Phase::Exited(_) => return Err(failed("cannot pause a stopped container")),
        }
        container.handle()?.pause()?;
        container.paused = true;
        let event = TaskPaused { container_id: request.id.clone() };
        self.publisher.push("/tasks/paused", &event);
        Ok(())
    }

    fn resume(&mut self, request: &ResumeRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        match container.init.phase {
            Phase::Running if container.paused => {}
            Phase::Running => return Err(failed("cannot resume a running process")),
            Phase::Created => return Err(failed("cannot resume task in created state")),
            Phase::Exited(_) => return Err(failed("cannot resume a stopped container")),
        }
        container.handle()?.resume()?;
        container.paused = false;
        let event = TaskResumed { container_id: request.id.clone() };
        self.publisher.push("/tasks/resumed", &event);
        Ok(())
    }

    fn kill(&mut self, request: &KillRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        let signal = i32::try_from(request.signal).map_err(|_| invalid("no such signal"))?;
        let process = container.process(&request.exec_id)?;
        let gone = || not_found("process already finished");
        if request.exec_id.is_empty() {
            let handle = container.handle()?;
            return match (request.all, &process.phase) {
                (true, _) => handle.kill(signal, Whom::Everyone),
                (false, Phase::Exited(_)) => Err(gone()),
                (false, _) => handle.kill(signal, Whom::Init),
            };
        }
        match (&process.phase, &process.pidfd) {
            (Phase::Exited(_), _) => Err(gone()),
            (_, None) => Err(crate::failure::precondition("process not created")),
            (_, Some(pidfd)) => match stowd_sys::signal::send(pidfd, signal) {
                Ok(()) => Ok(()),
                Err(rustix::io::Errno::SRCH) => Err(gone()),
                Err(error) => Err(failed(format_args!("exec kill error: {error}"))),
            },
        }
    }

    fn resize(&mut self, request: &ResizePtyRequest) -> Result<()> {
        let process = self.container(&request.id)?.process(&request.exec_id)?;
        if !request.exec_id.is_empty() && matches!(process.phase, Phase::Exited(_)) {
            return Err(failed("cannot resize a stopped container"));
        }
        let size = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        process.streams.resize(size(request.width), size(request.height)).map_err(failed)
    }

    fn close_io(&mut self, request: &CloseIoRequest) -> Result<()> {
        let process = self.container(&request.id)?.process_mut(&request.exec_id)?;
        if request.stdin {
            process.streams.close_stdin();
        }
        Ok(())
    }

    fn update(&mut self, request: &UpdateTaskRequest) -> Result<()> {
        let container = self.container(&request.id)?;
        if matches!(container.init.phase, Phase::Exited(_)) {
            return Err(failed("cannot update a stopped container"));
        }
        let Some(resources) = &request.resources else { return Ok(()) };
        container.handle_mut()?.update(&resources.value)
    }

    fn stats(&mut self, request: &StatsRequest) -> Result<StatsResponse> {
        let stats = self.container(&request.id)?.handle()?.cgroup().stats().map_err(failed)?;
        Ok(StatsResponse { stats: Some(stats::pack(stats)) })
    }

    fn connect(&mut self, request: &ConnectRequest) -> ConnectResponse {
        let shim_pid = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        let task_pid =
            self.containers.get(&request.id).map_or(0, |container| container.init.pid_number());
        ConnectResponse { shim_pid, task_pid, version: String::new() }
    }

    fn shutdown(&mut self, _request: &ShutdownRequest) {
        // Also with `now`: other containers of the pod may still run here.
        if self.containers.is_empty() {
            self.leave();
        }
    }

    fn wait(&mut self, request: &WaitRequest, caller: Caller) -> Result<Answer> {
        let process = self.container(&request.id)?.process_mut(&request.exec_id)?;
        if let Some(exit) = process.exit() {
            return Ok(waited(exit));
        }
        process.waiters.push(caller);
        Ok(Answer::Later)
    }

    fn delete(&mut self, request: DeleteRequest, caller: Caller) -> Result<Answer> {
        let container = self.container(&request.id)?;
        let paused = container.paused;
        let process = container.process_mut(&request.exec_id)?;
        if process.phase == Phase::Running {
            let state = if paused { "paused" } else { "running" };
            return Err(failed(format_args!("cannot delete a {state} process")));
        }
        process.streams.leave_to_readers();
        let now = Instant::now();
        // Done at the end of this turn, or of one that gets the last output away.
        self.deletes.push(PendingDelete {
            deadline: now + DRAIN,
            unread_until: now + UNREAD,
            id: request.id,
            exec_id: request.exec_id,
            caller,
        });
        Ok(Answer::Later)
    }

    /// Deletes the processes whose output has been read, or which have waited long enough.
    pub(crate) fn finish_deletes(&mut self) {
        let now = Instant::now();
        for delete in std::mem::take(&mut self.deletes) {
            let (poller, copies) = (&self.poller, &mut self.copies);
            let process = self
                .containers
                .get_mut(&delete.id)
                .and_then(|container| container.process_mut(&delete.exec_id).ok());
            let waits = process.is_some_and(|process| {
                let busy = process.streams.drain(poller, copies) == Progress::Busy;
                let until = match process.streams.unread() {
                    Unread::Awaiting => delete.deadline,
                    _ if busy => delete.deadline,
                    Unread::Forsaken => delete.unread_until,
                    Unread::Nothing => now,
                };
                now < until
            });
            if waits {
                self.deletes.push(delete);
                continue;
            }
            let done = match delete.exec_id.is_empty() {
                true => self.delete_init(&delete.id),
                false => self.delete_exec(&delete.id, &delete.exec_id),
            };
            let answer = match done {
                Ok(response) => Answer::Message(response.encode_to_vec().into()),
                Err(status) => Answer::Error(status),
            };
            self.respond(delete.caller, answer);
        }
    }

    fn delete_exec(&mut self, id: &str, exec_id: &str) -> Result<DeleteResponse> {
        let container = self.container(id)?;
        container.process(exec_id)?;
        let Some(mut process) = container.execs.remove(exec_id) else {
            return Err(not_found(format_args!("process does not exist {exec_id}")));
        };
        process.streams.close(&self.poller, &mut self.copies);
        Ok(deleted(&process))
    }

    fn delete_init(&mut self, id: &str) -> Result<DeleteResponse> {
        let container = self.container(id)?;
        let warnings = container.delete()?;
        warn(id, &warnings);
        if container.init.exit().is_none()
            && let Some(pid) = container.init.pid
        {
            // It never ran, and was killed just now.
            if let Some(exit) = wait_for(pid) {
                self.exited(pid, &exit);
            }
        }
        let container = self.container(id)?;
        let rootfs = container.bundle.join("rootfs");
        if let Err(error) = stowd_mount::unmount_all(&rootfs) {
            return Err(failed(format_args!("failed rootfs umount: {error}")));
        }
        let Some(mut container) = self.containers.remove(id) else {
            return Err(not_found("container not created"));
        };
        for process in container.processes() {
            process.streams.close(&self.poller, &mut self.copies);
        }
        self.forget_oom(id);
        let response = deleted(&container.init);
        let event = TaskDelete {
            container_id: id.to_owned(),
            pid: response.pid,
            exit_status: response.exit_status,
            exited_at: response.exited_at,
            id: id.to_owned(),
        };
        self.publisher.push("/tasks/delete", &event);
        Ok(response)
    }

    /// Takes a child's exit.
    pub(crate) fn exited(&mut self, pid: Pid, exit: &Exit) {
        let found = self.containers.iter().find_map(|(id, container)| {
            let all = std::iter::once(&container.init).chain(container.execs.values());
            let mut all = all.filter(|process| process.exit().is_none());
            let process = all.find(|process| process.pid == Some(pid))?;
            Some((id.clone(), process.exec_id.clone()))
        });
        let Some((id, exec_id)) = found else {
            self.stranger_exited(pid);
            return;
        };
        if !exec_id.is_empty() {
            self.tell_exit(&id, &exec_id, exit);
            let Some(container) = self.containers.get_mut(&id) else { return };
            if !is_inhabited(container)
                && let Some(held) = container.held.take()
            {
                self.tell_exit(&id, "", &held);
            }
            return;
        }
        let Some(container) = self.containers.get_mut(&id) else { return };
        if container.descendants == Descendants::Remain
            && let Ok(handle) = container.handle()
            && let Err(error) = handle.kill(rustix::process::Signal::KILL.as_raw(), Whom::Everyone)
        {
            log::warn("kill what init left behind", &[("id", &id), ("error", &error)]);
        }
        if is_inhabited(container) {
            container.held = Some(exit.clone());
        } else {
            self.tell_exit(&id, "", exit);
        }
    }

    /// A child that is no container's: a logger, or an orphan of some container's.
    fn stranger_exited(&mut self, pid: Pid) {
        let (poller, copies) = (&self.poller, &mut self.copies);
        for container in self.containers.values_mut() {
            for process in container.processes().filter(|process| process.streams.is_logger(pid)) {
                log::warn("a logger has gone", &[("pid", &pid.as_raw_nonzero())]);
                process.streams.without_logger(poller, copies);
            }
        }
    }

    fn tell_exit(&mut self, id: &str, exec_id: &str, exit: &Exit) {
        let Some(container) = self.containers.get_mut(id) else { return };
        let Ok(process) = container.process_mut(exec_id) else { return };
        process.phase = Phase::Exited(exit.clone());
        process.pidfd = None;
        let (pid, waiters) = (process.pid_number(), std::mem::take(&mut process.waiters));
        let event = TaskExit {
            container_id: id.to_owned(),
            id: if exec_id.is_empty() { id.to_owned() } else { exec_id.to_owned() },
            pid,
            exit_status: exit.status,
            exited_at: Some(exit.at),
        };
        self.publisher.push("/tasks/exit", &event);
        self.answer_waiters(waiters, exit);
    }

    fn answer_waiters(&mut self, waiters: Vec<Caller>, exit: &Exit) {
        for waiter in waiters {
            self.respond(waiter, waited(exit));
        }
    }
}

/// Whether processes that were started inside have not exited yet.
fn is_inhabited(container: &Container) -> bool {
    container.execs.values().any(|process| process.phase == Phase::Running)
}

fn deleted(process: &Process) -> DeleteResponse {
    let exit = process.exit();
    DeleteResponse {
        pid: process.pid_number(),
        exit_status: exit.map_or(0, |exit| exit.status),
        exited_at: exit.map(|exit| exit.at),
    }
}

fn waited(exit: &Exit) -> Answer {
    let response = WaitResponse { exit_status: exit.status, exited_at: Some(exit.at) };
    Answer::Message(response.encode_to_vec().into())
}

/// Logs what the runtime could not do as asked.
pub(crate) fn warn(id: &str, warnings: &[String]) {
    for warning in warnings {
        log::warn(warning, &[("id", &id)]);
    }
}

fn decode<M: Message + Default>(payload: Bytes) -> Result<M> {
    M::decode(payload).map_err(|error| invalid(format_args!("unmarshal request: {error}")))
}

fn with<Q, R>(payload: Bytes, call: impl FnOnce(Q) -> Result<R>) -> Result<Answer>
where
    Q: Message + Default,
    R: Message,
{
    let message = call(decode(payload)?)?;
    Ok(Answer::Message(message.encode_to_vec().into()))
}
