//! One of the workers of a test: container after container, or process after process.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;

use stowd_client::spec::{RootFiles, Spec};
use stowd_client::{Container, Io, Process, Task, TaskOptions};
use stowd_core::Result;

use super::Test;
use super::metrics::{Kind, Metrics};
use super::report::Work;
use crate::printer::Printer;

/// The user that containers run as, where the image knows it.
const USER: &str = "games";

/// A worker.
pub(super) struct Worker<'a> {
    number: usize,
    test: Rc<Test>,
    until: Instant,
    over: Rc<Cell<bool>>,
    metrics: Rc<Metrics>,
    printer: &'a Printer,
    work: Work,
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        number: usize,
        test: &Rc<Test>,
        until: Instant,
        over: &Rc<Cell<bool>>,
        metrics: &Rc<Metrics>,
        printer: &'a Printer,
    ) -> Self {
        let (test, over, metrics) = (test.clone(), over.clone(), metrics.clone());
        Self { number, test, until, over, metrics, printer, work: Work::default() }
    }

    /// Runs containers until the time is over.
    pub(super) async fn run(mut self) -> Work {
        while self.goes_on() {
            let id = self.next_id();
            let started = Instant::now();
            let done = self.test.run_container(&id).await;
            self.count(Kind::Run, started, done, format_args!("running container {id}"));
        }
        self.printer.debug(format_args!("worker {} finished", self.number));
        self.work
    }

    /// Runs processes in one container until the time is over.
    pub(super) async fn run_execs(mut self) -> Work {
        let id = format!("exec-container-{}", self.number);
        let kept = self.test.sleeping(&id, "30d").await;
        match kept {
            Ok((container, task)) => {
                let ran = self.run_execs_in(&container, &task).await;
                let removed = remove(&container, &task).await;
                if let Err(error) = ran.and(removed) {
                    self.printer.note(format_args!("exec container {id}: {error}"));
                }
            }
            Err(error) => {
                self.work.failures += 1;
                self.metrics.failed(&error);
                self.printer.note(format_args!("create exec container {id}: {error}"));
            }
        }
        self.printer.debug(format_args!("worker {} finished", self.number));
        self.work
    }

    async fn run_execs_in(&mut self, container: &Container, task: &Task) -> Result<()> {
        let mut spec = container.spec()?;
        spec.set_args(vec!["true".to_owned()]);
        let process = spec.process.unwrap_or_default();
        while self.goes_on() {
            let id = self.next_id();
            let started = Instant::now();
            let done = async {
                let exec = task.exec(&id, &process, Io::Null).await?;
                let ran = start_and_wait(&exec).await;
                ran.and(exec.kill_and_delete().await.map(drop))
            };
            let done = done.await;
            self.count(Kind::Exec, started, done, format_args!("running exec {id}"));
        }
        Ok(())
    }

    fn goes_on(&self) -> bool {
        !self.over.get() && Instant::now() < self.until
    }

    fn next_id(&mut self) -> String {
        self.work.total += 1;
        let id = format!("{}-{}", self.number, self.work.total);
        self.printer.debug(format_args!("starting {id}"));
        id
    }

    /// Only times of what went well are kept: failures may be quick.
    fn count(
        &mut self,
        kind: Kind,
        started: Instant,
        done: Result<()>,
        what: impl std::fmt::Display,
    ) {
        match done {
            Ok(()) => self.metrics.took(kind, started.elapsed()),
            Err(error) => {
                self.work.failures += 1;
                self.metrics.failed(&error);
                self.printer.note(format_args!("{what}: {error}"));
            }
        }
    }
}

impl Test {
    /// Runs `true` in a container of its own, from nothing to nothing.
    async fn run_container(&self, id: &str) -> Result<()> {
        let container = self.create(id, &["true"]).await?;
        let task = match container.create_task(Io::Null, TaskOptions::default()).await {
            Ok(task) => task,
            Err(error) => {
                let _ = container.remove().await;
                return Err(error);
            }
        };
        let ran = start_and_wait(&task).await;
        ran.and(remove(&container, &task).await)
    }

    /// Makes a container that does nothing for a while, and starts it.
    pub(super) async fn sleeping(&self, id: &str, time: &str) -> Result<(Container, Task)> {
        let container = self.create(id, &["sleep", time]).await?;
        let task = match container.create_task(Io::Null, TaskOptions::default()).await {
            Ok(task) => task,
            Err(error) => {
                let _ = container.remove().await;
                return Err(error);
            }
        };
        match task.start().await {
            Ok(_) => Ok((container, task)),
            Err(error) => {
                let _ = remove(&container, &task).await;
                Err(error)
            }
        }
    }

    async fn create(&self, id: &str, args: &[&str]) -> Result<Container> {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let adjust = |spec: &mut Spec, files: &dyn RootFiles| {
            spec.set_args(args.clone());
            // Small images do not know it; then it is the image's own.
            let _ = spec.set_user(USER, files);
            Ok(())
        };
        self.client
            .new_container(id)
            .runtime(&self.runtime, None)
            .snapshotter(&self.snapshotter)
            .image(&self.image)
            .args(args.clone())
            .adjust(adjust)
            .create()
            .await
    }
}

/// Kills what still runs and removes all of a container.
pub(super) async fn remove(container: &Container, task: &Task) -> Result<()> {
    let deleted = task.kill_and_delete().await;
    deleted.map(drop).and(container.remove().await)
}

/// Starts a process and waits for its end, which cannot be missed.
async fn start_and_wait(process: &Process) -> Result<()> {
    let mut exit = pin!(process.wait());
    let mut early = None;
    // Asked before the start; the answer comes only after it.
    poll_fn(|cx| {
        if let Poll::Ready(ended) = exit.as_mut().poll(cx) {
            early = Some(ended);
        }
        Poll::Ready(())
    })
    .await;
    process.start().await?;
    match early {
        Some(ended) => ended,
        None => exit.await,
    }
    .map(drop)
}
