//! Makes containers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use futures_util::future::{join, try_join};
use stowd_core::containers::{self, Runtime, Store as _};
use stowd_core::labels;
use stowd_core::mount::Mount;
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Any, Digest, Labels, Result};
use stowd_proxy::snapshots::Snapshots;
use stowd_spec::{NoFiles, RootFiles, Spec};

use crate::container::with_root;
use crate::graph::Contents;
use crate::unpack::unpack_under_lease;
use crate::{Client, Container, Image};

/// The label that keeps the image's stop signal, by custom of containerd's clients.
const STOP_SIGNAL: &str = "io.containerd.image.config.stop-signal";

type Adjust<'a> = Box<dyn FnOnce(&mut Spec, &dyn RootFiles) -> Result<()> + Send + 'a>;

/// A container to be.
///
/// Its spec begins as the default, then takes the image's config, then the arguments, then what
/// [`adjust`](Self::adjust) does, in the order of the calls.
#[must_use = "nothing is made before `create`"]
pub struct ContainerBuilder<'a> {
    client: Client,
    id: String,
    image: Option<Image>,
    args: Vec<String>,
    adjust: Vec<Adjust<'a>>,
    spec: Option<Spec>,
    snapshotter: String,
    snapshot_labels: Labels,
    labels: Labels,
    runtime: Runtime,
    extensions: BTreeMap<String, Any>,
    sandbox: String,
}

/// Which defaults a container needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needs {
    Runtime,
    Both,
}

impl Client {
    /// Begins a container.
    pub fn new_container<'a>(&self, id: impl Into<String>) -> ContainerBuilder<'a> {
        ContainerBuilder {
            client: self.clone(),
            id: id.into(),
            image: None,
            args: Vec::new(),
            adjust: Vec::new(),
            spec: None,
            snapshotter: String::new(),
            snapshot_labels: Labels::new(),
            labels: Labels::new(),
            runtime: Runtime::default(),
            extensions: BTreeMap::new(),
            sandbox: String::new(),
        }
    }
}

impl<'a> ContainerBuilder<'a> {
    /// Takes root file system and defaults from an image, which is unpacked if it is not yet.
    pub fn image(mut self, image: &Image) -> Self {
        self.image = Some(image.clone());
        self
    }

    /// Sets the arguments of the image's entrypoint, or the command where there is none.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Changes the spec; users can be looked up in the container's root.
    pub fn adjust(
        mut self,
        change: impl FnOnce(&mut Spec, &dyn RootFiles) -> Result<()> + Send + 'a,
    ) -> Self {
        self.adjust.push(Box::new(change));
        self
    }

    /// Begins with this spec instead of the default one.
    pub fn spec(mut self, spec: Spec) -> Self {
        self.spec = Some(spec);
        self
    }

    /// Sets the snapshotter; empty means the default one.
    pub fn snapshotter(mut self, name: impl Into<String>) -> Self {
        self.snapshotter = name.into();
        self
    }

    /// Sets labels of the snapshot that is made for the container.
    pub fn snapshot_labels(mut self, labels: Labels) -> Self {
        self.snapshot_labels = labels;
        self
    }

    /// Sets the container's labels, beside those of the image's config.
    pub fn labels(mut self, labels: Labels) -> Self {
        self.labels = labels;
        self
    }

    /// Sets what runs it; an empty name means the default runtime.
    pub fn runtime(mut self, name: impl Into<String>, options: Option<Any>) -> Self {
        self.runtime = Runtime { name: name.into(), options };
        self
    }

    /// Keeps something with the container under a name.
    pub fn extension(mut self, name: impl Into<String>, value: Any) -> Self {
        self.extensions.insert(name.into(), value);
        self
    }

    /// Puts it into a sandbox.
    pub fn sandbox(mut self, id: impl Into<String>) -> Self {
        self.sandbox = id.into();
        self
    }

    /// Makes the container: unpacks the image where needed, prepares a snapshot, stores the record.
    /// When that fails, what was made of it is removed again.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a container, or a snapshot, of that id; `NotFound` when the
    /// image's content is not here.
    pub async fn create(mut self) -> Result<Container> {
        let Some(image) = self.image.take() else {
            self.fill_in_defaults(Needs::Runtime).await?;
            let spec = self.build_spec(None, &NoFiles)?;
            return self.store(None, spec, Labels::new()).await;
        };
        let client = self.client.clone();
        // Three questions that do not depend on each other. The lease holds what is unpacked, and
        // the snapshot until the container's record does.
        let known = try_join(self.fill_in_defaults(Needs::Both), image.contents());
        let (known, leased) = join(known, client.lease()).await;
        let (leased, lease) = leased?;
        let made = async {
            let ((), contents) = known?;
            self.create_leased(&leased, &image, &contents).await
        };
        let made = made.await;
        match (made, client.release(&lease).await) {
            (Ok(container), Ok(())) => Ok(container),
            (Err(error), _) => Err(error),
            (Ok(container), Err(error)) => {
                let _ = container.remove().await;
                Err(error)
            }
        }
    }

    async fn fill_in_defaults(&mut self, needs: Needs) -> Result<()> {
        let snapshotter_missing = needs == Needs::Both && self.snapshotter.is_empty();
        if self.runtime.name.is_empty() || snapshotter_missing {
            let defaults = self.client.defaults().await?;
            if self.runtime.name.is_empty() {
                self.runtime.name = defaults.runtime;
            }
            if snapshotter_missing {
                self.snapshotter = defaults.snapshotter;
            }
        }
        Ok(())
    }

    async fn create_leased(
        &mut self,
        leased: &Client,
        image: &Image,
        contents: &Contents,
    ) -> Result<Container> {
        let snapshots = self.client.connection().snapshotter(&self.snapshotter);
        let mounts = self.prepare(leased, contents, &snapshots).await?;
        let made = async {
            let spec = with_root(&mounts, |root| self.build_spec(Some(&contents.config), root))?;
            let labels = image_labels(&contents.config);
            self.store(Some(image), spec, labels).await
        };
        match made.await {
            Ok(container) => Ok(container.with_mounts(mounts)),
            Err(error) => {
                let _ = snapshots.remove(self.client.scope(), &self.id).await;
                Err(error)
            }
        }
    }

    /// Makes the snapshot. That the image is unpacked is not asked first, as it mostly is.
    async fn prepare(
        &mut self,
        leased: &Client,
        contents: &Contents,
        snapshots: &Snapshots,
    ) -> Result<Vec<Mount>> {
        let labels = std::mem::take(&mut self.snapshot_labels);
        let chain = contents.file.chain_ids();
        let parent = chain.last().map(Digest::as_str);
        match snapshots.prepare(leased.scope(), &self.id, parent, labels.clone()).await {
            Err(error) if error.is_not_found() && parent.is_some() => {
                unpack_under_lease(leased, contents, &self.snapshotter).await?;
                snapshots.prepare(leased.scope(), &self.id, parent, labels).await
            }
            prepared => prepared,
        }
    }

    fn build_spec(
        &mut self,
        config: Option<&stowd_spec::ImageConfig>,
        root: &dyn RootFiles,
    ) -> Result<Spec> {
        let mut spec = match self.spec.take() {
            Some(spec) => spec,
            None => {
                let mut spec = Spec::linux_default(self.client.namespace(), &self.id);
                spec.add_default_devices();
                spec
            }
        };
        match config {
            Some(config) => spec.apply_image_config(config, &self.args, root)?,
            None if !self.args.is_empty() => spec.set_args(std::mem::take(&mut self.args)),
            None => {}
        }
        for adjust in self.adjust.drain(..) {
            adjust(&mut spec, root)?;
        }
        Ok(spec)
    }

    async fn store(
        &mut self,
        image: Option<&Image>,
        spec: Spec,
        mut image_labels: Labels,
    ) -> Result<Container> {
        image_labels.append(&mut self.labels);
        let (image, snapshotter, snapshot_key) = match image {
            Some(image) => (image.name().to_owned(), self.snapshotter.clone(), self.id.clone()),
            None => Default::default(),
        };
        let record = containers::Container {
            id: self.id.clone(),
            labels: image_labels,
            image,
            runtime: std::mem::take(&mut self.runtime),
            spec: Some(Any {
                type_url: containers::SPEC_TYPE.to_owned(),
                value: spec.to_json().into(),
            }),
            snapshotter,
            snapshot_key,
            extensions: std::mem::take(&mut self.extensions),
            sandbox_id: std::mem::take(&mut self.sandbox),
            created: SystemTime::UNIX_EPOCH,
            updated: SystemTime::UNIX_EPOCH,
        };
        let store = self.client.connection().containers();
        let record = store.create(self.client.scope(), record).await?;
        Ok(Container::new(self.client.clone(), record))
    }
}

/// The labels that an image's config gives to containers; those that cannot be labels are left out.
fn image_labels(config: &stowd_spec::ImageConfig) -> Labels {
    let mut kept: Labels = config
        .labels
        .iter()
        .filter(|(key, value)| labels::check(key, value).is_ok())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    let signal = if config.stop_signal.is_empty() { "SIGTERM" } else { &config.stop_signal };
    kept.insert(STOP_SIGNAL.to_owned(), signal.to_owned());
    kept
}

/// Returns the signal that a container's image wants to be stopped with, from its labels.
pub(crate) fn stop_signal(labels: &Labels) -> Option<&str> {
    labels.get(STOP_SIGNAL).map(String::as_str)
}
