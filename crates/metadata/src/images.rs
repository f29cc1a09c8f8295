//! The store of images.

use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use stowd_core::events::Event;
use stowd_core::filters::Filters;
use stowd_core::images::{Collect, Delete, Image, Store};
use stowd_core::{Error, Result, Scope, labels};

use crate::collector::expiry;
use crate::database::{Read as _, decode};
use crate::fields;
use crate::inner::Inner;
use crate::key::{self, Key, kind};
use crate::record::ImageRecord;

pub(crate) struct Images(pub(crate) Arc<Inner>);

#[async_trait]
impl Store for Images {
    async fn get(&self, scope: &Scope, name: &str) -> Result<Image> {
        let key = key::image(&scope.namespace, name);
        let record: Option<ImageRecord> = self.0.database.view(|view| view.get(&key))?;
        record.ok_or_else(|| absent(name))?.image(name.to_owned())
    }

    async fn list(&self, scope: &Scope, filters: &Filters) -> Result<Vec<Image>> {
        // A look-up by name is what most clients list for.
        if let Some(names) = filters.exact(&["name"]) {
            let mut found = Vec::new();
            let mut names: Vec<&str> = names;
            names.sort_unstable();
            names.dedup();
            for name in names {
                match self.get(scope, name).await {
                    Ok(image) if filters.matches(&image) => found.push(image),
                    Ok(_) => {}
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(found);
        }
        self.0.all(&Key::new(kind::IMAGE, [scope.namespace.as_str()]), filters, |key, value| {
            let Some([_, name]) = key::parts(key) else { return Ok(None) };
            decode::<ImageRecord>(key, value)?.image(name).map(Some)
        })
    }

    async fn create(&self, scope: &Scope, mut image: Image) -> Result<Image> {
        check(&image)?;
        fields::tidy(&mut image.labels);
        fields::tidy(&mut image.target.annotations);
        if image.created == SystemTime::UNIX_EPOCH {
            image.created = SystemTime::now();
        }
        image.updated = image.created;
        let scope = scope.clone();
        self.0
            .queue
            .write(move |tx| {
                let key = key::image(&scope.namespace, &image.name);
                if tx.has(&key)? {
                    return Err(Error::already_exists(format_args!("image {:?}", image.name)));
                }
                tx.ensure_namespace(&scope.namespace)?;
                tx.put(&key, &ImageRecord::from_image(&image))?;
                tx.lease(&scope, "images", &image.name)?;
                if let Some(at) = expiry(&image.labels) {
                    tx.expires(at);
                }
                let (name, labels) = (image.name.clone(), image.labels.clone());
                tx.publish(&scope.namespace, Event::ImageCreate { name, labels });
                Ok(image)
            })
            .await
    }

    async fn update(&self, scope: &Scope, wanted: Image, fieldpaths: &[String]) -> Result<Image> {
        if wanted.name.is_empty() {
            return Err(Error::invalid("image name is required for update"));
        }
        let namespace = scope.namespace.clone();
        let fieldpaths = fieldpaths.to_vec();
        self.0
            .queue
            .write(move |tx| {
                let key = key::image(&namespace, &wanted.name);
                let record: ImageRecord = tx.get(&key)?.ok_or_else(|| absent(&wanted.name))?;
                let mut image = record.image(wanted.name.clone())?;
                if fieldpaths.is_empty() {
                    image.target.clone_from(&wanted.target);
                    fields::change(&mut image.labels, &wanted.labels, "labels", "labels");
                }
                for path in &fieldpaths {
                    if path == "target" {
                        image.target.clone_from(&wanted.target);
                    } else if !fields::change(&mut image.labels, &wanted.labels, "labels", path)
                        && !fields::change(
                            &mut image.target.annotations,
                            &wanted.target.annotations,
                            "annotations",
                            path,
                        )
                    {
                        return Err(fields::cannot(path, &format_args!("image {:?}", image.name)));
                    }
                }
                check(&image)?;
                fields::tidy(&mut image.target.annotations);
                image.updated = if wanted.updated == SystemTime::UNIX_EPOCH {
                    SystemTime::now()
                } else {
                    wanted.updated
                };
                tx.put(&key, &ImageRecord::from_image(&image))?;
                // The old target may be free now.
                tx.deleted();
                if let Some(at) = expiry(&image.labels) {
                    tx.expires(at);
                }
                let (name, labels) = (image.name.clone(), image.labels.clone());
                tx.publish(&namespace, Event::ImageUpdate { name, labels });
                Ok(image)
            })
            .await
    }

    async fn delete(&self, scope: &Scope, name: &str, delete: Delete) -> Result<()> {
        let scope = scope.clone();
        let name = name.to_owned();
        let Delete { collect, target } = delete;
        self.0
            .queue
            .write(move |tx| {
                let key = key::image(&scope.namespace, &name);
                let record: ImageRecord = tx.get(&key)?.ok_or_else(|| absent(&name))?;
                if let Some(target) = target
                    && record.digest != target.as_str()
                {
                    return Err(Error::not_found(format_args!(
                        "image {name:?} has a different target"
                    )));
                }
                tx.delete(&key)?;
                tx.unlease(&scope, "images", &name)?;
                tx.deleted();
                tx.publish(&scope.namespace, Event::ImageDelete { name });
                Ok(())
            })
            .await?;
        match collect {
            Collect::Later => Ok(()),
            Collect::BeforeReturn => self.0.collector.collect().await.map(drop),
        }
    }
}

fn check(image: &Image) -> Result<()> {
    if image.name.is_empty() {
        return Err(Error::invalid("image name must not be empty"));
    }
    labels::check_all(&image.labels).map_err(|error| error.context("image.Labels"))?;
    if image.target.size == 0 {
        return Err(Error::invalid("Image.Target.Size must be greater than zero"));
    }
    if image.target.media_type.is_empty() {
        return Err(Error::invalid("Image.Target.MediaType must be set"));
    }
    Ok(())
}

fn absent(name: &str) -> Error {
    Error::not_found(format_args!("image {name:?}"))
}
