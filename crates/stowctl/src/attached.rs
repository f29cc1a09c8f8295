//! A process that this program stays connected with until it ends.

use std::pin::pin;

use futures_util::poll;
use stowd_client::Process;
use stowd_core::tasks::Exit;
use stowd_core::{Error, Result};

use crate::failure::{Failure, Outcome};
use crate::printer::Printer;
use crate::signals::{self, Signals};
use crate::terminal::{self, Broken};

/// How often a program asks in vain before it takes what cannot be refused.
const PATIENCE: u32 = 3;

/// What a connected process has on this side.
pub(crate) struct Side<'a> {
    printer: &'a Printer,
    signals: &'a mut Signals,
    broken: Broken,
    /// It has a terminal whose size follows ours.
    terminal: bool,
    /// How often it was asked to end.
    asked: u32,
}

impl<'a> Side<'a> {
    pub(crate) fn new(printer: &'a Printer, signals: &'a mut Signals, broken: Broken) -> Self {
        Self { printer, signals, broken, terminal: false, asked: 0 }
    }

    /// Says that the process has a terminal if the flags do.
    pub(crate) fn on(mut self, choice: &terminal::Choice) -> Self {
        self.terminal = choice.terminal;
        self
    }

    /// Starts a process and stays until it has ended and its output is here.
    pub(crate) async fn start(&mut self, process: &Process) -> Outcome<Exit> {
        self.resize(process).await;
        let mut exit = pin!(process.wait());
        // Asked before the start, so that no end can be missed.
        let early = poll!(&mut exit);
        let (_pid, asked) = self.signals.through(process.start()).await?;
        if let Some(number) = asked.0 {
            // It runs, so this is for it.
            self.asked += 1;
            self.pass_on(process, number).await;
        }
        // A terminal that exists only from the start on has not heard of the size yet.
        self.resize(process).await;
        match early {
            std::task::Poll::Ready(exit) => self.drain(process, exit?).await,
            std::task::Poll::Pending => self.follow(process, exit).await,
        }
    }

    /// Stays with a process that runs already.
    pub(crate) async fn stay(&mut self, process: &Process) -> Outcome<Exit> {
        self.resize(process).await;
        self.follow(process, process.wait()).await
    }

    async fn follow(
        &mut self,
        process: &Process,
        exit: impl Future<Output = Result<Exit>>,
    ) -> Outcome<Exit> {
        let mut exit = pin!(exit);
        let broken = self.broken.clone();
        let exit = loop {
            tokio::select! {
                exit = &mut exit => break exit?,
                number = self.signals.next() => {
                    if signals::ends(number) {
                        self.asked += 1;
                    }
                    self.pass_on(process, number).await;
                }
                () = broken.broken() => return self.end_unread(process, exit).await,
            }
        };
        self.drain(process, exit).await
    }

    /// Passes a signal on. Whoever asks again and again gets what cannot be refused.
    async fn pass_on(&mut self, process: &Process, number: i32) {
        if number == signals::SIGWINCH && self.terminal {
            return self.resize(process).await;
        }
        let signal = if self.asked >= PATIENCE && signals::ends(number) {
            self.printer.note("asked to end for the third time; killing it");
            signals::SIGKILL
        } else {
            number.unsigned_abs()
        };
        match process.kill(signal).await {
            // It has just ended.
            Err(error) if error.is_not_found() => {}
            Err(error) => self.printer.note(format_args!("forward signal {signal}: {error}")),
            Ok(()) => self.printer.debug(format_args!("forwarded signal {signal}")),
        }
    }

    /// Ends a process whose output nobody reads any more, as the kernel ends a program.
    async fn end_unread(
        &mut self,
        process: &Process,
        exit: impl Future<Output = Result<Exit>>,
    ) -> Outcome<Exit> {
        match process.kill(signals::SIGKILL).await {
            Err(error) if !error.is_not_found() => return Err(error.into()),
            _ => {}
        }
        let exit = exit.await?;
        self.drain(process, exit).await?;
        Err(signals::interrupted(signals::SIGPIPE))
    }

    /// Waits for the rest of the output; a signal ends the waiting, as something may keep it open
    /// or not read it.
    async fn drain(&mut self, process: &Process, exit: Exit) -> Outcome<Exit> {
        tokio::select! {
            () = process.output_ended() => {}
            () = async { while !signals::ends(self.signals.next().await) {} } => {}
        }
        Ok(exit)
    }

    async fn resize(&self, process: &Process) {
        if let (true, Some((width, height))) = (self.terminal, terminal::size())
            && let Err(error) = process.resize(width, height).await
        {
            self.printer.debug(format_args!("resize pty: {error}"));
        }
    }
}

/// Turns a process's status into the program's.
pub(crate) fn outcome(exit: &Exit) -> Outcome {
    match exit.status {
        0 => Ok(()),
        // As a shell does with a status that is too large.
        status => Err(Failure::Exit(u8::try_from(status & 0xff).unwrap_or(u8::MAX).max(1))),
    }
}

/// Writes a pid into a file.
pub(crate) fn write_pid(path: &std::path::Path, pid: u32) -> Result<()> {
    std::fs::write(path, pid.to_string())
        .map_err(|error| Error::io(format_args!("write {}", path.display()), &error))
}
