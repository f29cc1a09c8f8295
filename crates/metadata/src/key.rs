//! The keys of the one table.
//!
//! A key is a letter for the kind of record, then the parts of the record's name in order, each
//! closed by a zero byte. A zero byte inside a part is followed by `0xff`, which no part begins
//! with, so that keys sort by their parts, and all keys below a prefix of parts lie together.
//!
//! | letter | parts | record |
//! |---|---|---|
//! | `M` | name | the database's own books |
//! | `N` | namespace | namespace |
//! | `L` | namespace, id | lease |
//! | `R` | namespace, lease, kind, id | what a lease holds |
//! | `I` | namespace, name | image |
//! | `W` | namespace, reference | ingest |
//! | `B` | namespace, digest | blob |
//! | `H` | digest, namespace, reference or nothing | who keeps a blob's bytes on disk |
//! | `C` | namespace, id | container |
//! | `P` | namespace, id | sandbox |
//! | `S` | namespace, snapshotter, name | snapshot |
//! | `K` | namespace, snapshotter, parent, child | a snapshot's children |
//! | `A` | namespace, name | activation of mounts |
//! | `T` | snapshotter, number in 16 hexadecimal digits | a file tree's owner |

use stowd_core::leases::Resource;
use stowd_core::snapshots::TreeId;
use stowd_core::{Digest, Namespace};

/// Kinds of records.
pub(crate) mod kind {
    pub(crate) const BOOKS: u8 = b'M';
    pub(crate) const NAMESPACE: u8 = b'N';
    pub(crate) const LEASE: u8 = b'L';
    pub(crate) const RESOURCE: u8 = b'R';
    pub(crate) const IMAGE: u8 = b'I';
    pub(crate) const INGEST: u8 = b'W';
    pub(crate) const BLOB: u8 = b'B';
    pub(crate) const HOLDER: u8 = b'H';
    pub(crate) const CONTAINER: u8 = b'C';
    pub(crate) const SANDBOX: u8 = b'P';
    pub(crate) const SNAPSHOT: u8 = b'S';
    pub(crate) const CHILD: u8 = b'K';
    pub(crate) const TREE: u8 = b'T';
    pub(crate) const ACTIVATION: u8 = b'A';
}

/// A record's key, or what several keys begin with.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(Vec<u8>);

impl Key {
    /// Builds a key from its parts.
    pub(crate) fn new<const N: usize>(kind: u8, parts: [&str; N]) -> Self {
        let len: usize = parts.iter().map(|part| part.len() + 1).sum();
        let mut bytes = Vec::with_capacity(1 + len);
        bytes.push(kind);
        for part in parts {
            for byte in part.bytes() {
                bytes.push(byte);
                if byte == 0 {
                    bytes.push(0xff);
                }
            }
            bytes.push(0);
        }
        Self(bytes)
    }

    /// Takes a key as it stands in the table.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the kind of record.
    pub(crate) fn kind(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    /// Returns the first key after all that begin with this one.
    pub(crate) fn end(&self) -> Vec<u8> {
        let mut bytes = self.0.clone();
        bytes.push(0xff);
        bytes
    }

    /// Returns the parts, if there are exactly so many.
    pub(crate) fn parts<const N: usize>(&self) -> Option<[String; N]> {
        parts(&self.0)
    }
}

/// Returns the parts of a key as it stands in the table, if there are exactly so many.
pub(crate) fn parts<const N: usize>(key: &[u8]) -> Option<[String; N]> {
    let mut parts = Vec::with_capacity(N);
    let mut part = Vec::new();
    let mut bytes = key.get(1..)?.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != 0 {
            part.push(byte);
        } else if bytes.next_if_eq(&0xff).is_some() {
            part.push(0);
        } else {
            parts.push(String::from_utf8(std::mem::take(&mut part)).ok()?);
        }
    }
    parts.try_into().ok()
}

pub(crate) fn books(name: &str) -> Key {
    Key::new(kind::BOOKS, [name])
}

pub(crate) fn namespace(name: &Namespace) -> Key {
    Key::new(kind::NAMESPACE, [name.as_str()])
}

pub(crate) fn lease(namespace: &Namespace, id: &str) -> Key {
    Key::new(kind::LEASE, [namespace.as_str(), id])
}

pub(crate) fn resource(namespace: &Namespace, lease: &str, resource: &Resource) -> Key {
    Key::new(kind::RESOURCE, [namespace.as_str(), lease, &resource.kind, &resource.id])
}

pub(crate) fn image(namespace: &Namespace, name: &str) -> Key {
    Key::new(kind::IMAGE, [namespace.as_str(), name])
}

pub(crate) fn ingest(namespace: &Namespace, reference: &str) -> Key {
    Key::new(kind::INGEST, [namespace.as_str(), reference])
}

pub(crate) fn blob(namespace: &Namespace, digest: &Digest) -> Key {
    Key::new(kind::BLOB, [namespace.as_str(), digest.as_str()])
}

/// The blob's record itself holds its bytes under an empty reference; an ingest that shares them
/// holds them under its own.
pub(crate) fn holder(digest: &Digest, namespace: &Namespace, reference: &str) -> Key {
    Key::new(kind::HOLDER, [digest.as_str(), namespace.as_str(), reference])
}

pub(crate) fn holders(digest: &Digest) -> Key {
    Key::new(kind::HOLDER, [digest.as_str()])
}

pub(crate) fn container(namespace: &Namespace, id: &str) -> Key {
    Key::new(kind::CONTAINER, [namespace.as_str(), id])
}

pub(crate) fn sandbox(namespace: &Namespace, id: &str) -> Key {
    Key::new(kind::SANDBOX, [namespace.as_str(), id])
}

pub(crate) fn snapshot(namespace: &Namespace, snapshotter: &str, name: &str) -> Key {
    Key::new(kind::SNAPSHOT, [namespace.as_str(), snapshotter, name])
}

pub(crate) fn child(namespace: &Namespace, snapshotter: &str, parent: &str, child: &str) -> Key {
    Key::new(kind::CHILD, [namespace.as_str(), snapshotter, parent, child])
}

pub(crate) fn children(namespace: &Namespace, snapshotter: &str, parent: &str) -> Key {
    Key::new(kind::CHILD, [namespace.as_str(), snapshotter, parent])
}

pub(crate) fn activation(namespace: &Namespace, name: &str) -> Key {
    Key::new(kind::ACTIVATION, [namespace.as_str(), name])
}

pub(crate) fn tree(snapshotter: &str, id: TreeId) -> Key {
    Key::new(kind::TREE, [snapshotter, &format!("{:016x}", id.0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_come_back() {
        for parts in [["a", "b"], ["", ""], ["a\0", "\0b\0\0"], ["ä", "🦀"], ["a", ""]] {
            assert_eq!(Key::new(b'X', parts).parts::<2>().unwrap(), parts);
        }
        assert!(Key::new(b'X', ["a"]).parts::<2>().is_none());
        assert!(Key::from_bytes(b"").parts::<0>().is_none());
    }

    #[test]
    fn keys_sort_as_their_parts() {
        let mut parts = [
            ["a", "z"],
            ["a\0", "a"],
            ["a\0b", "a"],
            ["ab", "a"],
            ["a", ""],
            ["", "z"],
            ["a", "b\0"],
        ];
        parts.sort_unstable();
        let keys: Vec<Key> = parts.iter().map(|parts| Key::new(b'X', *parts)).collect();
        assert!(keys.is_sorted());
    }

    #[test]
    fn a_prefix_holds_its_own_and_nothing_else() {
        let prefix = Key::new(b'X', ["a"]);
        let below =
            |key: &Key| key.as_bytes() >= prefix.as_bytes() && *key.as_bytes() < *prefix.end();
        for (parts, inside) in [
            (["a", ""], true),
            (["a", "\0"], true),
            (["a", "🦀"], true),
            (["a\0", "b"], false),
            (["ab", ""], false),
        ] {
            assert_eq!(below(&Key::new(b'X', parts)), inside, "{parts:?}");
        }
    }
}
