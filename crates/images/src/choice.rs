//! Which branches of an image's tree are taken.

use stowd_core::platform::Matcher;
use stowd_core::{Descriptor, Digest, Error, Platform, Result};

use crate::graph::no_match;

/// Chooses among the manifests of indexes.
#[derive(Clone, Debug)]
pub struct Choice {
    platforms: Vec<Platform>,
    /// One for each platform.
    matchers: Vec<Matcher>,
    metadata: bool,
    limit: usize,
}

/// What is taken of an index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// These are taken with all that they lead to, best first.
    pub whole: Vec<Descriptor>,
    /// Of these all but the layers is.
    pub outlines: Vec<Descriptor>,
}

impl Choice {
    /// Takes everything.
    pub fn everything() -> Self {
        Self::of(&[])
    }

    /// Takes, for each of these platforms, what fits best of what fits at all; an empty list takes
    /// everything. Who wants `amd64` gets no `386` beside it, but does where there is nothing else.
    pub fn of(platforms: &[Platform]) -> Self {
        Self {
            platforms: platforms.to_vec(),
            matchers: platforms.iter().map(Matcher::only).collect(),
            metadata: false,
            limit: 0,
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
        self.platforms.is_empty() && self.limit == 0
    }

    /// Chooses among the manifests of an index. One that names no platform could be for any.
    ///
    /// # Errors
    /// `NotFound` when there are manifests and none fits; the hint says which there are.
    pub fn take(&self, index: &Digest, manifests: Vec<Descriptor>) -> Result<Taken> {
        let best = self.best(&manifests);
        let rank = |it: &Descriptor| self.rank(&best, it);
        if !manifests.is_empty() && manifests.iter().all(|it| rank(it).is_none()) {
            return Err(self.nothing(index, &manifests));
        }
        let (mut whole, mut outlines): (Vec<_>, Vec<_>) =
            manifests.into_iter().partition(|it| rank(it).is_some());
        if !self.metadata {
            outlines.clear();
        }
        if self.limit > 0 {
            whole.sort_by_key(|it| rank(it));
            whole.truncate(self.limit);
        }
        Ok(Taken { whole, outlines })
    }

    /// Returns the best rank that any manifest has for each platform.
    fn best(&self, manifests: &[Descriptor]) -> Vec<Option<usize>> {
        let of = |matcher: &Matcher| {
            manifests.iter().filter_map(|it| matcher.rank(it.platform.as_ref()?)).min()
        };
        self.matchers.iter().map(of).collect()
    }

    /// Returns the place of the platform that a manifest is the best for.
    fn rank(&self, best: &[Option<usize>], manifest: &Descriptor) -> Option<usize> {
        let Some(platform) = &manifest.platform else { return Some(usize::MAX) };
        if self.matchers.is_empty() {
            return Some(0);
        }
        let mut places = self.matchers.iter().zip(best);
        places.position(|(matcher, best)| best.is_some() && matcher.rank(platform) == *best)
    }

    fn nothing(&self, index: &Digest, manifests: &[Descriptor]) -> Error {
        let there: Vec<String> =
            manifests.iter().filter_map(|it| Some(it.platform.as_ref()?.to_string())).collect();
        let wanted: Vec<String> = self.platforms.iter().map(Platform::to_string).collect();
        no_match(index, &there).context(format_args!("platform {}", wanted.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::ErrorKind;
    use stowd_core::descriptor::media_type;

    fn manifest(platform: &str) -> Descriptor {
        let mut made = Descriptor::new(media_type::MANIFEST, Digest::of(platform.as_bytes()), 1);
        made.platform = (!platform.is_empty()).then(|| Platform::parse(platform).unwrap());
        made
    }

    fn names(list: &[Descriptor]) -> Vec<String> {
        let name = |it: &Descriptor| it.platform.as_ref().map(Platform::to_string);
        list.iter().map(|it| name(it).unwrap_or_default()).collect()
    }

    fn take(choice: &Choice, there: &[&str]) -> Result<Taken> {
        choice.take(&Digest::of(b"index"), there.iter().map(|it| manifest(it)).collect())
    }

    fn of(platforms: &[&str]) -> Choice {
        let platforms: Vec<_> = platforms.iter().map(|it| Platform::parse(it).unwrap()).collect();
        Choice::of(&platforms)
    }

    #[test]
    fn takes_the_best_for_each_platform() {
        let all = ["linux/arm64", "linux/386", "", "linux/amd64"];
        let whole = |choice: &Choice, there| names(&take(choice, there).unwrap().whole);
        assert_eq!(whole(&of(&["linux/amd64"]), &all), ["", "linux/amd64"]);
        assert_eq!(whole(&of(&["linux/amd64"]), &all[..2]), ["linux/386"]);
        let both = of(&["linux/amd64", "linux/386"]);
        assert_eq!(whole(&both, &all), ["linux/386", "", "linux/amd64"]);
        assert_eq!(whole(&both.clone().limited(1), &all), ["linux/amd64"]);
        assert_eq!(whole(&Choice::everything(), &all).len(), 4);
        assert!(take(&both, &[]).unwrap().whole.is_empty());
    }

    #[test]
    fn other_platforms_give_outlines() {
        let choice = of(&["linux/amd64"]).with_metadata_of_all();
        let taken = take(&choice, &["linux/386", "linux/amd64"]).unwrap();
        assert_eq!(names(&taken.whole), ["linux/amd64"]);
        assert_eq!(names(&taken.outlines), ["linux/386"]);
    }

    #[test]
    fn says_what_there_is_when_nothing_fits() {
        let error = take(&of(&["linux/s390x"]), &["linux/amd64"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("linux/s390x"), "{error}");
        assert_eq!(error.hint_text(), Some("it has linux/amd64"));
    }
}
