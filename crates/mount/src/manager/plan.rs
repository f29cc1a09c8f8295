//! What is to be done with mounts, found out before anything is.

use stowd_core::mount::Mount;
use stowd_core::mounts::{ActiveMount, Extent, Options};
use stowd_core::{Error, Result};

use super::roots::Roots;
use super::{format, mkdir, mkfs};

/// The most mounts that are made, and the most that are left to the caller.
const MOST: usize = 255;

/// Mounts, and which of them are made here.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// So many steps are made here, from the first on; the others are the caller's.
    pub(crate) made: usize,
}

/// One mount, and what happens to it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) mount: Mount,
    transformers: Vec<Transformer>,
    /// Who makes the mount.
    pub(crate) handler: Handler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transformer {
    Format,
    Mkfs,
    Mkdir,
}

/// Who makes a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handler {
    /// The kernel.
    System,
    /// This crate, by binding a loop device.
    Loop,
}

/// The kind that a loop device is bound for.
pub(crate) const LOOP: &str = "loop";

impl Plan {
    /// Makes the plan.
    ///
    /// # Errors
    /// `NotImplemented` when nothing has to be done here.
    pub(crate) fn new(mounts: Vec<Mount>, options: &Options) -> Result<Self> {
        let mut made = None;
        let allowed = |kind: &str| options.allowed.iter().any(|allowed| allowed == kind);
        let mut steps = Vec::with_capacity(mounts.len());
        for (index, mount) in mounts.into_iter().enumerate() {
            let mut kind = mount.kind.as_str();
            let mut transformers = Vec::new();
            while let Some((word, rest)) = kind.split_once('/') {
                let Some(transformer) = Transformer::parse(word) else { break };
                if !allowed(&format!("{word}/*")) && !allowed(&mount.kind) {
                    // All before it have to be there when it is transformed.
                    made = Some(index);
                }
                transformers.push(transformer);
                kind = rest;
            }
            let handler = if kind == LOOP { Handler::Loop } else { Handler::System };
            if options.extent == Extent::All || (handler == Handler::Loop && !allowed(kind)) {
                made = Some(index + 1);
            }
            steps.push(Step { mount, transformers, handler });
        }
        let Some(made) = made else {
            return Err(Error::not_implemented("mounts that need no activation"));
        };
        for (what, count) in [("active", made), ("system", steps.len() - made)] {
            if count > MOST {
                return Err(Error::invalid(format_args!(
                    "too many {what} mounts ({count}): maximum {MOST}"
                )));
            }
        }
        Ok(Self { steps, made })
    }
}

impl Step {
    /// Transforms the mount, given the mounts made before it.
    pub(crate) fn transform(self, active: &[ActiveMount], roots: &Roots) -> Result<Mount> {
        self.transformers.into_iter().try_fold(self.mount, |mut mount, transformer| {
            if let Some((_, rest)) = mount.kind.split_once('/') {
                mount.kind = rest.to_owned();
            }
            match transformer {
                Transformer::Format => format::transform(mount, active),
                Transformer::Mkfs => mkfs::transform(mount, roots),
                Transformer::Mkdir => mkdir::transform(mount, roots),
            }
        })
    }
}

impl Transformer {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "format" => Some(Self::Format),
            "mkfs" => Some(Self::Mkfs),
            "mkdir" => Some(Self::Mkdir),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::ErrorKind;

    fn made(kinds: &[&str], extent: Extent, allowed: &[&str]) -> Option<usize> {
        let mounts =
            kinds.iter().map(|&kind| Mount { kind: kind.to_owned(), ..Mount::default() }).collect();
        let allowed = allowed.iter().map(|&kind| kind.to_owned()).collect();
        match Plan::new(mounts, &Options { extent, allowed, ..Options::default() }) {
            Ok(plan) => Some(plan.made),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NotImplemented);
                None
            }
        }
    }

    #[test]
    fn what_comes_before_the_last_mount_that_needs_it_is_made() {
        use Extent::{All, Needed};
        for (kinds, extent, allowed, expected) in [
            (&[] as &[&str], Needed, &[] as &[&str], None),
            (&[], All, &[], None),
            (&["bind"], Needed, &[], None),
            (&["bind", "overlay"], All, &[], Some(2)),
            (&["loop"], Needed, &[], Some(1)),
            (&["ext4", "format/overlay"], Needed, &[], Some(1)),
            (&["loop", "format/ext4"], Needed, &[], Some(1)),
            (&["loop", "format/ext4", "bind"], Needed, &[], Some(1)),
            (&["loop", "ext4", "format/mkdir/overlay"], Needed, &[], Some(2)),
            (&["mkfs/loop", "ext4"], Needed, &[], Some(1)),
            (&["format/overlay"], Needed, &[], Some(0)),
            (&["loop"], Needed, &["loop"], None),
            (&["loop", "format/ext4"], Needed, &["loop"], Some(1)),
            (&["ext4", "format/overlay"], Needed, &["format/*"], None),
            (&["ext4", "format/overlay"], Needed, &["format/overlay"], None),
            (&["ext4", "format/overlay"], Needed, &["overlay"], Some(1)),
            (&["ext4", "format/mkdir/overlay"], Needed, &["format/*"], Some(1)),
            (&["bind"], All, &["bind"], Some(1)),
            (&["fuse/thing"], Needed, &[], None),
            (&["bind", "format/fuse/thing"], Needed, &[], Some(1)),
        ] {
            assert_eq!(made(kinds, extent, allowed), expected, "{kinds:?} {extent:?} {allowed:?}");
        }
    }

    #[test]
    fn too_many_are_refused() {
        let many = vec![Mount { kind: LOOP.to_owned(), ..Mount::default() }; 256];
        let error = Plan::new(many, &Options::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
