//! Names in a layer: where they lie in the tree, and which of them are whiteouts (OCI image-spec,
//! layer.md, "Whiteouts").

use std::ffi::CString;

use stowd_core::{Error, Result};

use crate::tar::malformed;

/// A name below the top of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The directory it is in: names joined by single slashes, without `.` and `..`; empty for the top.
    pub(super) parent: Vec<u8>,
    /// Its last part.
    pub(super) base: CString,
}

/// Where an entry belongs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    Inside(Name),
    /// The top directory itself.
    Top,
    /// Files by which the file system aufs kept its own records; very old layers have them.
    Aufs,
}

/// What a whiteout takes away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Whiteout {
    /// One name in the directory.
    Name(CString),
    /// All that the layers below have in the directory.
    Below,
}

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Finds the place of an entry. Names that begin with a slash are taken from the top of the tree.
pub(super) fn place(name: &[u8]) -> Result<Place> {
    let mut path = clean(name)?;
    if path.is_empty() {
        return Ok(Place::Top);
    }
    let start = path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let base = path.split_off(start);
    path.pop();
    let aufs = path.split(|byte| *byte == b'/').any(|part| part.starts_with(META))
        || (base.starts_with(META) && base != OPAQUE);
    if aufs {
        return Ok(Place::Aufs);
    }
    let base = CString::new(base).map_err(|_| malformed("a name with a NUL in it"))?;
    Ok(Place::Inside(Name { parent: path, base }))
}

/// Says whether a name is a whiteout.
pub(super) fn whiteout(name: &Name) -> Result<Option<Whiteout>> {
    let base = name.base.to_bytes();
    if base == OPAQUE {
        return Ok(Some(Whiteout::Below));
    }
    let Some(hidden) = base.strip_prefix(PREFIX) else { return Ok(None) };
    if matches!(hidden, b"" | b"." | b"..") {
        return Err(malformed(format_args!("invalid whiteout name {name}")));
    }
    let hidden = CString::new(hidden).map_err(|_| malformed("a name with a NUL in it"))?;
    Ok(Some(Whiteout::Name(hidden)))
}

/// Returns the parts of a name, from the top down.
pub(super) fn parts(name: &Name) -> Vec<CString> {
    let parents = name.parent.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    // No name has a NUL in it by now.
    parents.filter_map(|part| CString::new(part).ok()).chain([name.base.clone()]).collect()
}

/// Takes out what is redundant, and `..` with what it goes back from.
fn clean(name: &[u8]) -> Result<Vec<u8>> {
    let mut path = Vec::with_capacity(name.len());
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                if path.is_empty() {
                    return Err(outside(name));
                }
                let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                path.truncate(end);
            }
            part => {
                if !path.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(part);
            }
        }
    }
    Ok(path)
}

fn outside(name: &[u8]) -> Error {
    malformed(format_args!("name {:?} reaches outside", String::from_utf8_lossy(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(name: &str) -> (String, String) {
        match place(name.as_bytes()).unwrap() {
            Place::Inside(name) => {
                (String::from_utf8(name.parent).unwrap(), name.base.into_string().unwrap())
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn names_are_cleaned() {
        for name in ["a/b/c", "./a/b/c", "/a/b/c/", "a//b/./c", "a/x/../b/c/d/.."] {
            assert_eq!(inside(name), ("a/b".to_owned(), "c".to_owned()), "{name}");
        }
        assert_eq!(inside("..dots"), (String::new(), "..dots".to_owned()));
        for top in ["", ".", "/", "./", "a/..", "///."] {
            assert_eq!(place(top.as_bytes()).unwrap(), Place::Top, "{top}");
        }
        for outside in ["..", "../a", "a/../../b", "/../etc"] {
            assert!(place(outside.as_bytes()).is_err(), "{outside}");
        }
    }

    #[test]
    fn whiteouts_are_told_from_names() {
        let of = |name: &str| match place(name.as_bytes()).unwrap() {
            Place::Inside(name) => whiteout(&name),
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(of("d/.wh.a").unwrap(), Some(Whiteout::Name(c"a".to_owned())));
        assert_eq!(of("d/.wh..a").unwrap(), Some(Whiteout::Name(c".a".to_owned())));
        assert_eq!(of("d/.wh..wh..opq").unwrap(), Some(Whiteout::Below));
        assert_eq!(of("d/a.wh.b").unwrap(), None);
        assert_eq!(of("d/.wha").unwrap(), None);
        for bad in [".wh.", "d/.wh..", "d/.wh..."] {
            assert!(of(bad).is_err(), "{bad}");
        }
        for aufs in [".wh..wh.plnk", ".wh..wh.orph/1.2", "d/.wh..wh.x"] {
            assert_eq!(place(aufs.as_bytes()).unwrap(), Place::Aufs, "{aufs}");
        }
    }
}
