//! How far a long job has come.

/// One report about one item of a job, as containerd's transfer service words it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What is happening: `waiting`, `downloading`, `complete`, `extracting`, `Resolved …`, …
    pub event: String,
    /// The item's name: a reference or `layer-sha256:…`; empty for the job as a whole.
    pub name: String,
    /// Names of the items that this one belongs to.
    pub parents: Vec<String>,
    /// Bytes done.
    pub progress: u64,
    /// Bytes in all; 0 where unknown.
    pub total: u64,
    /// The blob that the item is, where it is one.
    pub descriptor: Option<crate::Descriptor>,
}

/// Takes reports. It is called from hot loops on many threads and must neither block nor fail.
pub trait Sink: Send + Sync {
    /// Takes one report.
    fn report(&self, progress: Progress);
}

/// A sink that forgets everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn report(&self, _: Progress) {}
}
