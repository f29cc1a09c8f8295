//! `run`, which is one command in ctr's grammar and another in stowctl's.

mod cleanup;
mod creation;
mod ctr;
mod flags;
mod pull;
mod stowctl;

use stowd_client::{Container, Task};
use stowd_core::tasks::Exit;

pub(crate) use cleanup::Leftovers;
pub(crate) use creation::{Arguments, Creation, Root};
pub(crate) use ctr::{Run as CtrRun, Words as CtrWords};
pub(crate) use flags::{
    Container as ContainerFlags, Output as OutputFlags, Placement, Runtime as RuntimeFlags,
};
pub(crate) use stowctl::Run as StowctlRun;

use crate::attached::{Side, write_pid};
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::Signals;
use crate::terminal::{Choice, Raw};

/// A container whose task is about to be made and started.
pub(crate) struct Launch<'a> {
    pub(crate) at: &'a Context,
    pub(crate) signals: &'a mut Signals,
    pub(crate) choice: Choice,
    pub(crate) options: stowd_client::TaskOptions,
    pub(crate) pid_file: Option<&'a std::path::Path>,
}

impl Launch<'_> {
    /// Makes the task and starts it, and when connected stays to its end. The task is deleted
    /// then; whatever fails, `leftovers` has it.
    pub(crate) async fn go(
        self,
        container: &Container,
        leftovers: &mut Leftovers<'_>,
    ) -> Outcome<Option<Exit>> {
        let connected = self.choice.connected;
        let raw = if connected && self.choice.terminal { Some(Raw::enter()?) } else { None };
        let (io, broken) = self.choice.io()?;
        let creating = container.create_task(io, self.options);
        let (task, asked): (Task, _) = self.signals.through(creating).await?;
        leftovers.add_task(&task);
        asked.go_on()?;
        if let Some(path) = self.pid_file {
            write_pid(path, task.pid())?;
        }
        if !connected {
            let (_, asked) = self.signals.through(task.start()).await?;
            asked.go_on()?;
            return Ok(None);
        }
        let printer = &self.at.printer;
        let mut side = Side::new(printer, self.signals, broken).on(&self.choice);
        let exit = side.start(&task).await?;
        drop(raw);
        task.delete().await?;
        leftovers.forget_task();
        Ok(Some(exit))
    }
}

impl OutputFlags {
    /// Says where the streams of a task lead that is made with these flags.
    pub(crate) fn choice(&self) -> Choice {
        Choice {
            null: self.null_io,
            log: self.log_uri.clone(),
            fifos: self.fifo_dir.clone(),
            ..Choice::default()
        }
    }
}

impl ContainerFlags {
    /// Returns where to write the pid.
    pub(crate) fn pid_file(&self) -> Option<&std::path::Path> {
        self.pid_file.as_deref()
    }
}
