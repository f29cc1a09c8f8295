//! `run` as people expect it: pulls what is missing, picks an id, attaches, cleans up.

use stowd_client::Client;
use stowd_core::reference::Reference;
use stowd_core::{Error, Result};

use super::pull;
use super::{Arguments, ContainerFlags, Creation, Launch, Leftovers, OutputFlags, Placement, Root};
use crate::attached::outcome;
use crate::context::Context;
use crate::failure::Outcome;
use crate::signals::Signals;

/// Run a command in a new container, pulling the image if it is missing
#[derive(Debug, clap::Args)]
#[command(override_usage = "stowctl run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub(crate) struct Run {
    /// Name of the container; one is made up unless given
    #[arg(long)]
    name: Option<String>,
    /// Remove the container afterwards, which is what happens anyway without --detach or --keep
    #[arg(long, conflicts_with = "keep")]
    rm: bool,
    /// Keep the container and what was written in it
    #[arg(long)]
    keep: bool,
    /// Leave the container running, print its name
    #[arg(short, long, conflicts_with = "rm")]
    detach: bool,
    #[command(flatten)]
    pull: pull::Flags,
    #[command(flatten)]
    output: OutputFlags,
    #[command(flatten)]
    placement: Placement,
    #[command(flatten)]
    container: ContainerFlags,
    /// The image (or with --rootfs a folder, with --config nothing), command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "IMAGE COMMAND")]
    words: Vec<String>,
}

impl Run {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let mut words = self.words.clone().into_iter();
        let reference = if self.container.config.is_some() {
            String::new()
        } else {
            words.next().ok_or_else(|| {
                Error::invalid("no image is named")
                    .hint("for example: stowctl run busybox echo hello")
            })?
        };
        let id = match &self.name {
            Some(name) => name.clone(),
            None => made_up(&reference)?,
        };
        let creation = Creation {
            id: id.clone(),
            args: words.collect(),
            arguments: Arguments::FollowEntrypoint,
            flags: &self.container,
            placement: &self.placement,
        };
        creation.check()?;
        let mut signals = Signals::catch()?;
        let client = at.client().await?;
        let root = self.root(at, &client, &mut signals, &reference).await?;
        let options = creation.task_options();
        let mut leftovers = Leftovers::new(at, &client, &id);
        let creating = creation.create(&client, root);
        let (container, asked) =
            signals.through(creating).await.map_err(|failure| match failure {
                crate::failure::Failure::Error(error) if error.is_already_exists() => {
                    error.hint("choose another --name, or remove that container first").into()
                }
                other => other,
            })?;
        leftovers.add_container(&container);
        let mut choice = self.output.choice();
        choice.terminal = self.container.tty;
        choice.connected = !self.detach;
        let done = async {
            asked.go_on()?;
            let pid_file = self.container.pid_file();
            let launch = Launch { at, signals: &mut signals, choice, options, pid_file };
            launch.go(&container, &mut leftovers).await
        };
        let done = done.await;
        let ended = matches!(done, Ok(Some(_)));
        if done.is_ok() && (self.detach || self.keep && ended) {
            leftovers.keep();
        } else {
            leftovers.remove().await;
        }
        match done? {
            Some(exit) => {
                if self.keep {
                    at.printer.note(format_args!("kept as {id}"));
                }
                outcome(&exit)
            }
            None => Ok(at.printer.line(&id)?),
        }
    }

    async fn root(
        &self,
        at: &Context,
        client: &Client,
        signals: &mut Signals,
        reference: &str,
    ) -> Outcome<Root> {
        if self.container.config.is_some() {
            return Ok(Root::SpecFile);
        }
        if self.container.rootfs {
            let path = std::path::absolute(reference)
                .map_err(|error| Error::io(format_args!("find {reference}"), &error))?;
            return Ok(Root::Folder(path.to_string_lossy().into_owned()));
        }
        let platform = self.placement.platform.as_ref();
        let image = self.pull.image(at, client, signals, reference, platform).await?;
        Ok(Root::Image(Box::new(image)))
    }
}

/// The most that the image's name adds to a container's.
const LONGEST_STEM: usize = 40;
/// Letters and digits that nobody mistakes for each other, and that make no words.
const LETTERS: &[u8; 28] = b"bcdfghjkmnpqrstvwxyz23456789";

/// Makes up a name that begins like the image's.
fn made_up(reference: &str) -> Result<String> {
    let normal = Reference::normalize(reference).ok();
    let stem = normal.as_ref().and_then(|normal| normal.repository().rsplit('/').next());
    let stem: String = stem
        .unwrap_or("container")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
        .take(LONGEST_STEM)
        .collect();
    let mut random = [0_u8; 6];
    rustix::rand::getrandom(&mut random[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|errno| Error::io("get random bytes", &errno.into()))?;
    let word: String =
        random.iter().map(|byte| char::from(LETTERS[usize::from(byte % 28)])).collect();
    Ok(format!("{}-{word}", stem.trim_matches('-')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_like_the_image() {
        let name = made_up("registry.example:5000/a/web_server:1").unwrap();
        assert!(name.starts_with("web-server-"), "{name}");
        assert_ne!(made_up("busybox").unwrap(), made_up("busybox").unwrap());
        assert!(made_up("").unwrap().starts_with("container-"));
    }
}
