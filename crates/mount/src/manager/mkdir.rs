//! The transformer `mkdir/`: makes directories that a mount needs.

use std::io;

use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;
use stowd_core::mount::Mount;
use stowd_core::{Error, Result};

use super::roots::Roots;

/// What its options begin with.
const PREFIX: &str = "X-containerd.mkdir.";

/// What an option asks for.
#[derive(Debug, PartialEq, Eq)]
struct Wanted<'a> {
    path: &'a str,
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// Makes the directories that a mount's options name, and takes these options out.
///
/// # Errors
/// `InvalidArgument` for an option that cannot be meant; `NotImplemented`, as containerd has it, for a
/// place below no root, and for a directory that is there with another mode.
pub(crate) fn transform(mut mount: Mount, roots: &Roots) -> Result<Mount> {
    let (own, rest): (Vec<_>, Vec<_>) =
        mount.options.into_iter().partition(|option| option.starts_with(PREFIX));
    mount.options = rest;
    for option in own {
        make(&parse(&option)?, roots)?;
    }
    Ok(mount)
}

/// Parses `X-containerd.mkdir.path=PATH[:MODE[:UID:GID]]`.
fn parse(option: &str) -> Result<Wanted<'_>> {
    let wrong =
        |reason: &str| Error::invalid(format_args!("invalid mkdir option {option:?}: {reason}"));
    let value = option.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix("path="));
    let parts: Vec<&str> = value.ok_or_else(|| wrong("only path is known"))?.split(':').collect();
    let mode = |text: &str| match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(wrong("the mode is not octal, or has other bits than permissions")),
    };
    let id = |text: &str| match text.parse() {
        Ok(id) if id != u32::MAX => Ok(id),
        _ => Err(wrong("the owner is no number")),
    };
    match *parts {
        [path] => Ok(Wanted { path, mode: 0o700, owner: None }),
        [path, bits] => Ok(Wanted { path, mode: mode(bits)?, owner: None }),
        [path, bits, user, group] => {
            Ok(Wanted { path, mode: mode(bits)?, owner: Some((id(user)?, id(group)?)) })
        }
        _ => Err(wrong("it has to be path=PATH[:MODE[:UID:GID]]")),
    }
}

fn make(wanted: &Wanted<'_>, roots: &Roots) -> Result<()> {
    let place = roots.find(wanted.path, "mkdir")?;
    let failed = |act: &str, error: io::Error| {
        Error::io(format_args!("{act} directory {:?}", wanted.path), &error)
    };
    let mode = Mode::from_raw_mode(wanted.mode);
    // With the mode at once: a crash must not leave a directory that looks like another's.
    let made = stowd_sys::fs_context::run("mkdir", || {
        rustix::fs::mkdirat(&place.parent, &place.name, mode)
    });
    match made.map_err(|error| failed("make", error))? {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("make", error.into())),
    }
    let found = place.open().and_then(|found| found.ok_or(io::ErrorKind::NotFound.into()));
    let found = found.map_err(|error| failed("open", error))?;
    let stat = rustix::fs::fstat(&found).map_err(|error| failed("look at", error.into()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Err(Error::failed_precondition(format_args!(
            "{:?} is there and is no directory",
            wanted.path
        )));
    }
    if stat.st_mode & 0o777 != wanted.mode {
        return Err(Error::not_implemented(format_args!(
            "directory {:?} is there with mode {:o}: chmod by mkdir",
            wanted.path,
            stat.st_mode & 0o777
        )));
    }
    if let Some((user, group)) = wanted.owner
        && (stat.st_uid, stat.st_gid) != (user, group)
    {
        let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
        let flags = rustix::fs::AtFlags::EMPTY_PATH;
        rustix::fs::chownat(&found, "", Some(user), Some(group), flags)
            .map_err(|error| failed("change the owner of", error.into()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn option(value: &str) -> String {
        format!("{PREFIX}{value}")
    }

    #[test]
    fn options_say_path_mode_and_owner() {
        let parsed = |value: &str| {
            let option = option(value);
            let wanted = parse(&option).ok()?;
            Some((wanted.path.to_owned(), wanted.mode, wanted.owner))
        };
        assert_eq!(parsed("path=/a"), Some(("/a".into(), 0o700, None)));
        assert_eq!(parsed("path=/a:0755"), Some(("/a".into(), 0o755, None)));
        assert_eq!(parsed("path=/a:750:1:2"), Some(("/a".into(), 0o750, Some((1, 2)))));
        for wrong in [
            "",
            "mode=1",
            "path",
            "path=/a:1:2",
            "path=/a:1:2:3:4",
            "path=/a:9",
            "path=/a:1755",
            "path=/a:-1",
            "path=/a:755:x:1",
            "path=/a:755:1:4294967295",
        ] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn directories_are_made_once_and_options_taken_out() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let roots = Roots::new(vec![root.clone()]);
        let wanted = |value: &str| Mount {
            options: vec![
                option(&format!("path={}/{value}", root.display())),
                "upperdir=x".to_owned(),
            ],
            ..Mount::default()
        };
        for _ in 0..2 {
            let mount = transform(wanted("upper:0777"), &roots).unwrap();
            assert_eq!(mount.options, ["upperdir=x"]);
        }
        let mode = |name: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777
        };
        assert_eq!(mode("upper"), 0o777);
        let error = transform(wanted("upper:0755"), &roots).unwrap_err();
        assert!(error.is(stowd_core::ErrorKind::NotImplemented), "{error}");
        assert_eq!(mode("upper"), 0o777);
        assert!(transform(wanted("a/b"), &roots).is_err());
        assert!(transform(wanted("../b"), &roots).is_err());
    }
}
