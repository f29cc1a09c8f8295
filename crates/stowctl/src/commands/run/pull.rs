//! Finds the image of a run, and pulls it where it is missing.

use std::path::PathBuf;

use stowd_client::{Client, Image};
use stowd_core::reference::Reference;
use stowd_core::{Error, Platform, Result};

use crate::commands::images::pull::pull_plainly;
use crate::context::Context;
use crate::failure::Outcome;
use crate::registry::{PASSWORD, RegistryFlags};
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
    #[arg(long, value_name = "FOLDER")]
    hosts_dir: Option<PathBuf>,
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
        let pulling = pull_plainly(at, client, self.registry()?, &full, platform);
        signals.until_asked(pulling).await
    }

    fn registry(&self) -> Result<RegistryFlags> {
        // Standard input is the container's: nobody is asked.
        if let Some(creds) = &self.creds
            && !creds.contains(':')
            && std::env::var_os(PASSWORD).is_none()
        {
            return Err(Error::invalid("--creds has no password")
                .hint(format_args!("write USER:PASSWORD, or set {PASSWORD}")));
        }
        let mut flags = RegistryFlags::default();
        flags.plain_http = self.plain_http;
        flags.skip_verify = self.skip_verify;
        flags.user.clone_from(&self.creds);
        flags.hosts_dir.clone_from(&self.hosts_dir);
        Ok(flags)
    }
}
