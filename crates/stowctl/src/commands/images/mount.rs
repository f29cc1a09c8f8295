//! `images mount` and `images unmount`.

use std::path::Path;
use std::time::Duration;

use stowd_client::{Client, mount};
use stowd_core::error::ResultExt as _;
use stowd_core::images::Collect;
use stowd_core::leases::Store as _;
use stowd_core::mount::Mount as Wanted;
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Error, Labels, Platform, Result, labels};

use crate::context::Context;
use crate::failure::Outcome;
use crate::times;

/// How long an image stays mounted before its snapshot may be collected.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// Mounts an image's files at a folder; `images unmount` undoes it.
#[derive(Debug, clap::Args)]
pub(crate) struct Mount {
    /// The snapshotter to use; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// Mount it writable
    #[arg(long)]
    rw: bool,
    /// Mount the image for this platform, such as linux/arm64, instead of this machine's
    #[arg(long)]
    platform: Option<String>,
    /// Has no effect: what is unpacked is always made durable
    #[arg(long)]
    sync_fs: bool,
    /// The image's name
    #[arg(value_name = "REF")]
    name: String,
    /// The folder
    target: String,
}

/// Arguments of `images unmount`.
#[derive(Debug, clap::Args)]
pub(crate) struct Unmount {
    /// The snapshotter to use; without one, the namespace's
    #[arg(long, env = "CONTAINERD_SNAPSHOTTER", default_value = "", hide_default_value = true)]
    snapshotter: String,
    /// Remove the snapshot after unmounting
    #[arg(long)]
    rm: bool,
    /// The folder
    target: String,
}

impl Mount {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let platform = self.platform.as_deref().map(Platform::parse).transpose()?;
        if !Path::new(&self.target).is_dir() {
            return Err(Error::invalid(format_args!("{} is no folder", self.target)).into());
        }
        let client = at.client().await?;
        let image = match client.image(&self.name).await {
            Ok(image) => image,
            Err(error) => return Err(super::absent(&client, &self.name, error).await.into()),
        };
        let image = match platform {
            Some(platform) => image.for_platform(&platform),
            None => image,
        };
        let snapshotter = chosen(&client, &self.snapshotter).await?;
        let lease = Lease::take(&client, &self.target, &snapshotter).await?;
        let mounted = async {
            image.unpack(&snapshotter).await.context(|| "error unpacking image")?;
            let chain = image.chain_id().await?.to_string();
            at.printer.line(&chain)?;
            self.mount(&lease.client, &snapshotter, &chain).await
        };
        if let Err(error) = mounted.await {
            lease.give_back(&client).await;
            return Err(error.into());
        }
        Ok(at.printer.line(&self.target)?)
    }

    async fn mount(&self, client: &Client, snapshotter: &str, chain: &str) -> Result<()> {
        let (snapshots, scope) = (client.connection().snapshotter(snapshotter), client.scope());
        let (key, parent) = (self.target.as_str(), Some(chain));
        let made = if self.rw {
            snapshots.prepare(scope, key, parent, Labels::new()).await
        } else {
            snapshots.view(scope, key, parent, Labels::new()).await
        };
        let mounts = match made {
            Err(error) if error.is_already_exists() => snapshots.mounts(scope, key).await?,
            made => made?,
        };
        if let Err(error) = perform(&mounts, &self.target) {
            // What it was for has failed; collection would find it as well, only later.
            let _ = snapshots.remove(scope, key).await;
            return Err(error);
        }
        Ok(())
    }
}

impl Unmount {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        mount::unmount_all(Path::new(&self.target)).map_err(Error::from)?;
        if self.rm {
            let client = at.client().await?;
            let (connection, scope) = (client.connection(), client.scope());
            let snapshotter = chosen(&client, &self.snapshotter).await?;
            let deleted = connection.leases().delete(scope, &self.target, Collect::Later).await;
            unless_gone(deleted).context(|| "error deleting lease")?;
            let removed = connection.snapshotter(snapshotter).remove(scope, &self.target).await;
            unless_gone(removed).context(|| "error removing snapshot")?;
        }
        Ok(at.printer.line(&self.target)?)
    }
}

/// A lease named after the target, which keeps the snapshot.
struct Lease {
    client: Client,
    /// Nothing when somebody else's lease of that name was there.
    made: Option<String>,
}

impl Lease {
    async fn take(client: &Client, target: &str, snapshotter: &str) -> Result<Self> {
        let labels = Labels::from([
            (labels::GC_EXPIRE.to_owned(), times::after(LIFE)),
            (format!("{}{snapshotter}", labels::GC_REF_SNAPSHOT), target.to_owned()),
        ]);
        match client.connection().leases().create(client.scope(), target, labels).await {
            Ok(_) => Ok(Self { client: client.with_lease(target), made: Some(target.to_owned()) }),
            Err(error) if error.is_already_exists() => {
                Ok(Self { client: client.clone(), made: None })
            }
            Err(error) => Err(error),
        }
    }

    async fn give_back(self, client: &Client) {
        if let Some(id) = self.made {
            // The command has failed already, and says why.
            let _ = client.release(&id).await;
        }
    }
}

async fn chosen(client: &Client, snapshotter: &str) -> Result<String> {
    match snapshotter {
        "" => Ok(client.defaults().await?.snapshotter),
        given => Ok(given.to_owned()),
    }
}

fn perform(mounts: &[Wanted], target: &str) -> Result<()> {
    Ok(mount::mount_all(mounts, Path::new(target))?)
}

fn unless_gone(done: Result<()>) -> Result<()> {
    match done {
        Err(error) if error.is_not_found() => Ok(()),
        done => done,
    }
}
