//! Finds the image of a run, and pulls it where it is missing.

use std::sync::Arc;

use async_trait::async_trait;
use stowd_client::{Client, Image, Pull};
use stowd_core::reference::Reference;
use stowd_core::transfer::{Credentials, Secret};
use stowd_core::{Error, Platform, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::progress;
use crate::signals::Signals;

/// Whether an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum When {
    /// When it is not here.
    #[default]
    Missing,
    /// Always, which is cheap when nothing has changed.
    Always,
    /// Never.
    Never,
}

/// How an image is pulled.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// When to pull the image
    #[arg(long, value_enum, default_value_t, value_name = "WHEN")]
    pull: When,
    /// Talk plain HTTP to the registry
    #[arg(long)]
    plain_http: bool,
    /// Do not check the registry's certificate
    #[arg(short = 'k', long)]
    skip_verify: bool,
    /// Credentials for the registry; without a password it is read from $STOWCTL_PASSWORD
    #[arg(long, value_name = "USER[:PASSWORD]")]
    creds: Option<String>,
    /// Folder with hosts.toml files
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    hosts_dir: String,
}

/// The variable that keeps a password out of the command line, which everybody can read.
const PASSWORD: &str = "STOWCTL_PASSWORD";

struct Fixed(Secret);

#[async_trait]
impl Credentials for Fixed {
    async fn secret(&self, _reference: &str, _host: &str) -> Result<Option<Secret>> {
        Ok(Some(self.0.clone()))
    }
}

impl Flags {
    /// Finds an image by its name as people type it.
    pub(super) async fn image(
        &self,
        at: &Context,
        client: &Client,
        signals: &mut Signals,
        typed: &str,
        platform: Option<&Platform>,
    ) -> Outcome<Image> {
        let image = self.found_or_pulled(at, client, signals, typed, platform).await?;
        Ok(match platform {
            Some(platform) => image.for_platform(platform),
            None => image,
        })
    }

    async fn found_or_pulled(
        &self,
        at: &Context,
        client: &Client,
        signals: &mut Signals,
        typed: &str,
        platform: Option<&Platform>,
    ) -> Outcome<Image> {
        let full = Reference::normalize(typed)?.to_string();
        if self.pull != When::Always {
            // Names that no registry knows can be had as they are, too.
            for name in [full.as_str(), typed] {
                match client.image(name).await {
                    Ok(image) => return Ok(image),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if self.pull == When::Never {
            return Err(Error::not_found(format_args!("image {full:?}"))
                .hint("leave --pull=never out, or pull or import it first")
                .into());
        }
        at.printer.note(format_args!("pulling {full}"));
        let pull = self.request(&full, platform)?;
        let job = progress::start(&at.printer);
        let image = signals.until_asked(client.pull_with(pull, Arc::clone(&job) as _)).await?;
        job.finish();
        Ok(image)
    }

    fn request(&self, full: &str, platform: Option<&Platform>) -> Result<Pull> {
        let mut pull = Pull::of(full);
        pull.from.plain_http = self.plain_http;
        pull.from.skip_verify = self.skip_verify;
        pull.from.config_path.clone_from(&self.hosts_dir);
        if let Some(creds) = &self.creds {
            pull.from.credentials = Some(Arc::new(Fixed(secret(creds)?)));
        }
        pull.platforms.extend(platform.cloned());
        Ok(pull)
    }
}

fn secret(creds: &str) -> Result<Secret> {
    let (username, password) = match creds.split_once(':') {
        Some((user, password)) => (user, password.to_owned()),
        None => {
            let password = std::env::var(PASSWORD).map_err(|_| {
                Error::invalid("--creds has no password")
                    .hint(format_args!("write USER:PASSWORD, or set {PASSWORD}"))
            })?;
            (creds, password)
        }
    };
    Ok(Secret::Basic { username: username.to_owned(), password })
}
