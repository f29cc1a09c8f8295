//! The lists of directories in overlayfs' options.
//!
//! A colon or a backslash that belongs to a directory's name is written with a backslash before it.

use stowd_core::mount::Mount;

/// The directories of an overlay mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// Where changes go; none for a read-only mount.
    pub upper: Option<String>,
    /// What is below, topmost first.
    pub lower: Vec<String>,
}

impl Layers {
    /// Reads the directories out of a mount's options.
    pub fn of(mount: &Mount) -> Self {
        Self {
            upper: mount.option("upperdir").map(unescape),
            lower: mount.option("lowerdir").map(split).unwrap_or_default(),
        }
    }
}

/// Takes a list of directories apart.
pub fn split(list: &str) -> Vec<String> {
    let mut directories = vec![String::new()];
    let mut characters = list.chars();
    while let Some(character) = characters.next() {
        match (character, directories.last_mut()) {
            (':', _) => directories.push(String::new()),
            ('\\', Some(last)) => last.extend(characters.next()),
            (_, Some(last)) => last.push(character),
            (_, None) => {}
        }
    }
    directories
}

/// Puts a list of directories together.
pub fn join<'a>(directories: impl IntoIterator<Item = &'a str>) -> String {
    let mut list = String::new();
    for (index, directory) in directories.into_iter().enumerate() {
        if index > 0 {
            list.push(':');
        }
        for character in directory.chars() {
            if matches!(character, ':' | '\\') {
                list.push('\\');
            }
            list.push(character);
        }
    }
    list
}

/// Returns mounts that show the same files without a way to change them.
///
/// An overlay loses its upper directory to the lower ones, so that nothing is created on disk and a
/// mount of the same snapshot elsewhere does not matter.
pub fn read_only(mounts: &[Mount]) -> Vec<Mount> {
    mounts
        .iter()
        .map(|mount| {
            let mut mount = mount.clone();
            if mount.kind == "overlay" {
                freeze(&mut mount);
            } else {
                mount.options.retain(|option| option != "rw" && option != "ro");
                mount.options.push("ro".to_owned());
            }
            mount
        })
        .collect()
}

/// Returns the mounts without `volatile`, which marks an upper directory as not to be mounted again.
pub fn without_volatile(mounts: &[Mount]) -> Vec<Mount> {
    let mut mounts = mounts.to_vec();
    for mount in mounts.iter_mut().filter(|mount| mount.kind == "overlay") {
        mount.options.retain(|option| option != "volatile" && option != "fsync=volatile");
    }
    mounts
}

fn freeze(mount: &mut Mount) {
    let mut upper = None;
    mount.options.retain(|option| {
        if let Some(path) = option.strip_prefix("upperdir=") {
            upper = Some(path.to_owned());
            return false;
        }
        let dropped = ["workdir=", "uidmap=", "gidmap="];
        !dropped.iter().any(|prefix| option.starts_with(prefix))
            && option != "volatile"
            && option != "fsync=volatile"
    });
    let Some(upper) = upper else { return };
    for option in &mut mount.options {
        if let Some(lower) = option.strip_prefix("lowerdir=") {
            *option = format!("lowerdir={upper}:{lower}");
        }
    }
}

fn unescape(path: &str) -> String {
    let mut plain = String::with_capacity(path.len());
    let mut characters = path.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_with_colons_survive() {
        let list = join(["/a:b", "/c\\d", "/e"]);
        assert_eq!(list, "/a\\:b:/c\\\\d:/e");
        assert_eq!(split(&list), ["/a:b", "/c\\d", "/e"]);
    }

    #[test]
    fn an_overlay_without_its_upper_directory_cannot_be_written() {
        let mount = Mount {
            kind: "overlay".to_owned(),
            source: "overlay".to_owned(),
            target: String::new(),
            options: ["index=off", "workdir=/w", "upperdir=/u", "lowerdir=/l1:/l2"]
                .map(str::to_owned)
                .to_vec(),
        };
        assert_eq!(
            Layers::of(&mount),
            Layers { upper: Some("/u".into()), lower: vec!["/l1".into(), "/l2".into()] }
        );
        let frozen = read_only(&[mount]);
        assert_eq!(frozen[0].options, ["index=off", "lowerdir=/u:/l1:/l2"]);
    }

    #[test]
    fn a_bind_becomes_read_only_once() {
        let mount = Mount {
            kind: "bind".to_owned(),
            options: vec!["rw".to_owned(), "rbind".to_owned()],
            ..Mount::default()
        };
        assert_eq!(read_only(&[mount])[0].options, ["rbind", "ro"]);
    }
}
