//! Which branches of an image's tree are taken.

use stowd_core::descriptor::media_type;
use stowd_core::platform::Matcher;
use stowd_core::{Descriptor, Platform, Result};

use crate::graph::no_match;

/// Chooses among what blobs lead to.
#[derive(Clone, Debug)]
pub struct Choice {
    matcher: Matcher,
    platforms: Vec<Platform>,
    metadata: bool,
    limit: usize,
}

impl Choice {
    /// Takes everything.
    pub fn everything() -> Self {
        Self { matcher: Matcher::all(), platforms: Vec::new(), metadata: false, limit: 0 }
    }

    /// Takes the manifests for these platforms, best first; an empty list takes all.
    pub fn of(platforms: &[Platform]) -> Self {
        Self {
            matcher: Matcher::any_of(platforms),
            platforms: platforms.to_vec(),
            ..Self::everything()
        }
    }

    /// Takes, of other platforms, the manifests and configs too.
    #[must_use]
    pub fn with_metadata_of_all(mut self) -> Self {
        self.metadata = true;
        self
    }

    /// Takes the best `limit` manifests of an index; 0 means all that fit.
    #[must_use]
    pub fn limited(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Says whether every platform is taken.
    pub fn is_everything(&self) -> bool {
        self.matcher.is_all() && self.limit == 0
    }

    /// Says whether a manifest's layers are taken: its platform fits, or it names none.
    pub fn fits(&self, manifest: &Descriptor) -> bool {
        manifest.platform.as_ref().is_none_or(|platform| self.matcher.matches(platform))
    }

    /// Returns those of `children` that are taken, in the order of preference for an index.
    ///
    /// # Errors
    /// `NotFound` when an index has manifests and none is taken.
    pub fn take(&self, parent: &Descriptor, children: Vec<Descriptor>) -> Result<Vec<Descriptor>> {
        if media_type::is_index(&parent.media_type) {
            return self.take_manifests(parent, children);
        }
        if self.metadata && !self.fits(parent) {
            let kept = children.into_iter().filter(|it| !media_type::is_layer(&it.media_type));
            return Ok(kept.collect());
        }
        Ok(children)
    }

    fn take_manifests(
        &self,
        index: &Descriptor,
        mut manifests: Vec<Descriptor>,
    ) -> Result<Vec<Descriptor>> {
        let offered: Vec<String> =
            manifests.iter().filter_map(|it| Some(it.platform.as_ref()?.to_string())).collect();
        let any = !manifests.is_empty();
        let fitting = manifests.iter().filter(|it| self.fits(it)).count();
        if any && fitting == 0 {
            let wanted: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
            let error = no_match(&index.digest, &offered);
            return Err(match wanted.is_empty() {
                true => error,
                false => error.context(format_args!("platform {}", wanted.join(", "))),
            });
        }
        if !self.metadata {
            manifests.retain(|it| self.fits(it));
        }
        if self.limit > 0 {
            let rank = |it: &Descriptor| {
                it.platform.as_ref().map_or(Some(usize::MAX - 1), |it| self.matcher.rank(it))
            };
            manifests.sort_by_key(|it| rank(it).unwrap_or(usize::MAX));
            manifests.truncate(self.limit);
        }
        Ok(manifests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::{Digest, ErrorKind};

    fn manifest(platform: &str) -> Descriptor {
        let mut made = Descriptor::new(media_type::MANIFEST, Digest::of(platform.as_bytes()), 1);
        made.platform = (!platform.is_empty()).then(|| Platform::parse(platform).unwrap());
        made
    }

    fn index() -> Descriptor {
        Descriptor::new(media_type::INDEX, Digest::of(b"index"), 1)
    }

    fn names(list: &[Descriptor]) -> Vec<String> {
        list.iter()
            .map(|it| it.platform.as_ref().map(Platform::to_string).unwrap_or_default())
            .collect()
    }

    #[test]
    fn takes_what_fits_best_first() {
        let all = || ["linux/arm64", "linux/386", "", "linux/amd64"].map(manifest).to_vec();
        let amd64 = [Platform::parse("linux/amd64").unwrap()];
        let choice = Choice::of(&amd64);
        let taken = choice.take(&index(), all()).unwrap();
        assert_eq!(names(&taken), ["linux/386", "", "linux/amd64"]);
        let one = choice.clone().limited(1).take(&index(), all()).unwrap();
        assert_eq!(names(&one), ["linux/amd64"]);
        let metadata = choice.with_metadata_of_all().take(&index(), all()).unwrap();
        assert_eq!(metadata.len(), 4);
        assert_eq!(Choice::everything().take(&index(), all()).unwrap().len(), 4);
    }

    #[test]
    fn says_what_there_is_when_nothing_fits() {
        let choice = Choice::of(&[Platform::parse("linux/s390x").unwrap()]);
        let error = choice.take(&index(), vec![manifest("linux/amd64")]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("linux/s390x"), "{error}");
        assert_eq!(error.hint_text(), Some("it has linux/amd64"));
    }

    #[test]
    fn other_platforms_give_no_layers() {
        let choice = Choice::of(&[Platform::parse("linux/amd64").unwrap()]).with_metadata_of_all();
        let config = Descriptor::new(media_type::CONFIG, Digest::of(b"c"), 1);
        let layer = Descriptor::new(media_type::LAYER, Digest::of(b"l"), 1);
        let taken =
            choice.take(&manifest("linux/arm64"), vec![config.clone(), layer.clone()]).unwrap();
        assert_eq!(taken, std::slice::from_ref(&config));
        let taken = choice.take(&manifest("linux/amd64"), vec![config, layer]).unwrap();
        assert_eq!(taken.len(), 2);
    }
}
