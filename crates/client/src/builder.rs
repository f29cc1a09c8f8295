//! Makes containers.

use std::collections::BTreeMap;
use std::time::SystemTime;

use stowd_core::containers::{self, Runtime, Store as _};
use stowd_core::labels;
use stowd_core::mount::Mount;
use stowd_core::snapshots::Snapshotter as _;
use stowd_core::{Any, Error, Labels, Result};
use stowd_spec::{NoFiles, RootFiles, RootView, Spec};

use crate::{Client, Container, Image};

/// How the JSON of a runtime spec is named.
pub(crate) const SPEC_TYPE: &str = "types.containerd.io/opencontainers/runtime-spec/1/Spec";
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
    /// When that fails, the snapshot is removed again.
    ///
    /// # Errors
    /// `AlreadyExists` when there is a container, or a snapshot, of that id; `NotFound` when the
    /// image's content is not here.
    pub async fn create(mut self) -> Result<Container> {
        if self.runtime.name.is_empty() {
            self.runtime.name = self.client.default_runtime().await?;
        }
        let Some(image) = self.image.take() else {
            let spec = self.build_spec(None, &NoFiles)?;
            return self.store(None, spec, Labels::new()).await;
        };
        let snapshotter = self.client.snapshotter_or_default(&self.snapshotter).await?;
        // The daemon is asked first, so that a taken id never costs an unpack.
        match self.client.connection().containers().get(self.client.scope(), &self.id).await {
            Ok(_) => {
                let id = &self.id;
                return Err(Error::already_exists(format_args!("container {id:?}")));
            }
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        if !image.is_unpacked(&snapshotter).await? {
            image.unpack(&snapshotter).await?;
        }
        let parent = image.chain_id().await?;
        let config = image.config().await?;
        let (client, id) = (self.client.clone(), self.id.clone());
        let snapshots = client.connection().snapshotter(&snapshotter);
        // Between snapshot and record nothing else would hold the snapshot.
        let (leased, lease) = client.lease().await?;
        let made = async {
            let labels = std::mem::take(&mut self.snapshot_labels);
            let scope = leased.scope();
            let mounts = snapshots.prepare(scope, &id, Some(parent.as_str()), labels).await?;
            let made = async {
                let spec = self.spec_of_root(&mounts, &config)?;
                let image_labels = image_labels(&config);
                self.store(Some((&image, snapshotter.clone())), spec, image_labels).await
            };
            match made.await {
                Ok(container) => Ok(container),
                Err(error) => {
                    let _ = snapshots.remove(client.scope(), &id).await;
                    Err(error)
                }
            }
        };
        let made = made.await;
        client.release(&lease).await?;
        made
    }

    fn spec_of_root(&mut self, mounts: &[Mount], config: &stowd_spec::ImageConfig) -> Result<Spec> {
        match RootView::of_mounts(mounts) {
            Ok(root) => self.build_spec(Some(config), &root),
            Err(stowd_spec::Error::NeedsMount { .. }) => {
                let place = stowd_mount::TempRoot::open(std::env::temp_dir())?;
                let mounted = place.mount(&stowd_mount::overlay::read_only(mounts))?;
                let spec = self.build_spec(Some(config), &RootView::at(mounted.path()));
                mounted.close()?;
                spec
            }
            Err(error) => Err(error.into()),
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
        image: Option<(&Image, String)>,
        spec: Spec,
        mut image_labels: Labels,
    ) -> Result<Container> {
        image_labels.append(&mut self.labels);
        let (image, snapshotter, snapshot_key) = match image {
            Some((image, snapshotter)) => (image.name().to_owned(), snapshotter, self.id.clone()),
            None => Default::default(),
        };
        let record = containers::Container {
            id: self.id.clone(),
            labels: image_labels,
            image,
            runtime: std::mem::take(&mut self.runtime),
            spec: Some(Any { type_url: SPEC_TYPE.to_owned(), value: spec.to_json().into() }),
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
