//! `run` as ctr has it: of an image that is here, under an id that is given.

use std::ffi::OsString;
use std::path::PathBuf;

use stowd_client::{Client, Container, TaskOptions};
use stowd_core::{Error, Result};

use super::{Arguments, ContainerFlags, Creation, Launch, Leftovers, OutputFlags, Placement, Root};
use crate::attached::outcome;
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::{Asked, Signals};

/// Run a container
#[derive(Debug, clap::Args)]
#[command(override_usage = "ctr run [OPTIONS] IMAGE|ROOTFS ID [COMMAND] [ARG]...")]
pub(crate) struct Run {
    /// Remove the container after running; not with --detach
    #[arg(long)]
    rm: bool,
    /// Leave the task once it has started; not with --rm
    #[arg(short, long)]
    detach: bool,
    /// File to write the generated spec to
    #[arg(long, value_name = "PATH")]
    dump_config: Option<PathBuf>,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    placement: Placement,
    #[command(flatten)]
    container: ContainerFlags,
    /// The image (or with --rootfs a folder, with --config nothing), the id, command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE ID COMMAND")]
    words: Vec<String>,
}

/// What ctr's words are.
pub(crate) struct Words {
    /// The image or folder; empty with a spec file.
    reference: String,
    id: String,
    args: Vec<String>,
}

impl Words {
    /// Sorts the words of a command line.
    pub(crate) fn of(words: Vec<String>, flags: &ContainerFlags) -> Result<Self> {
        let mut words = words.into_iter();
        let reference = if flags.config.is_some() {
            String::new()
        } else {
            let reference = words.next().filter(|word| !word.is_empty());
            reference.ok_or_else(|| Error::unknown("image ref must be provided"))?
        };
        let id = words.next().filter(|word| !word.is_empty());
        let id = id.ok_or_else(|| Error::unknown("container id must be provided"))?;
        let args: Vec<String> = words.collect();
        if flags.config.is_some() && !args.is_empty() {
            return Err(Error::unknown(
                "with spec config file, only container id should be provided",
            ));
        }
        Ok(Self { reference, id, args })
    }

    /// Makes the container.
    pub(crate) async fn begin<'a>(
        self,
        at: &'a Context,
        flags: &ContainerFlags,
        placement: &Placement,
    ) -> Outcome<Begun<'a>> {
        let creation = Creation {
            id: self.id.clone(),
            args: self.args.clone(),
            arguments: Arguments::ReplaceAll,
            flags,
            placement,
        };
        creation.check()?;
        let mut signals = Signals::catch()?;
        let client = at.client().await?;
        let root = self.root(&client, flags, placement).await?;
        let options = creation.task_options();
        let mut leftovers = Leftovers::new(at, &client, &self.id);
        let (container, asked) = signals.through(creation.create(&client, root)).await?;
        if asked.0.is_some() {
            leftovers.add_container(&container);
        }
        Ok(Begun { signals, leftovers, container, asked, options })
    }

    /// Finds what the container is made from.
    async fn root(
        &self,
        client: &Client,
        flags: &ContainerFlags,
        placement: &Placement,
    ) -> Result<Root> {
        if flags.config.is_some() {
            return Ok(Root::SpecFile);
        }
        if flags.rootfs {
            let path = std::path::absolute(OsString::from(&self.reference))
                .map_err(|error| Error::io(format_args!("find {}", self.reference), &error))?;
            return Ok(Root::Folder(path.to_string_lossy().into_owned()));
        }
        let image = client.image(&self.reference).await?;
        Ok(Root::Image(Box::new(match &placement.platform {
            Some(platform) => image.for_platform(platform),
            None => image,
        })))
    }
}

/// A container that was just made.
pub(crate) struct Begun<'a> {
    pub(crate) signals: Signals,
    /// Has the container if a signal asked to end meanwhile.
    pub(crate) leftovers: Leftovers<'a>,
    pub(crate) container: Container,
    pub(crate) asked: Asked,
    /// What its task is to be made with.
    pub(crate) options: TaskOptions,
}

impl Run {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let words = Words::of(self.words, &self.container)?;
        if self.rm && self.detach {
            return Err(
                Error::unknown("flags --detach and --rm cannot be specified together").into()
            );
        }
        let flags = self.container.with_ctr_defaults();
        let placement = self.placement.with_ctr_defaults();
        let Begun { mut signals, mut leftovers, container, asked, options } =
            words.begin(at, &flags, &placement).await?;
        if self.rm {
            leftovers.add_container(&container);
        }
        let done = async {
            asked.go_on()?;
            if let Some(path) = &self.dump_config {
                dump(&container, path)?;
            }
            let mut choice = self.output.choice();
            choice.terminal = flags.tty;
            choice.connected = !self.detach;
            let pid_file = flags.pid_file();
            let launch = Launch { at, signals: &mut signals, choice, options, pid_file };
            launch.go(&container, &mut leftovers).await
        };
        let done = done.await;
        if self.detach && done.is_ok() {
            leftovers.keep();
        } else {
            leftovers.remove().await;
        }
        done?.as_ref().map_or(Ok(()), outcome)
    }
}

fn dump(container: &Container, path: &std::path::Path) -> Result<()> {
    std::fs::write(path, container.spec()?.to_pretty_json())
        .map_err(|error| Error::io(format_args!("write {}", path.display()), &error))
}
