//! Users and groups of the container, as its own files name them.

mod passwd;
mod view;

use passwd::{Group, User, groups, users};
pub use view::RootView;

use crate::{Error, Result, Spec};

/// A container's root file system, as far as users are looked up in it.
pub trait RootFiles {
    /// Reads a regular file of at most 10 MiB by its path from the root; `None` if there is none.
    fn read(&self, path: &'static str) -> Result<Option<Vec<u8>>>;
}

/// A root with no files: numbers stay what they are, and names are not found.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl RootFiles for NoFiles {
    fn read(&self, _: &'static str) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

impl Spec {
    /// Sets the user from `user`, `uid`, or either with `:group` or `:gid`.
    ///
    /// A number needs no entry in the root's files; its group is then 0, unless given. A name does.
    pub fn set_user(&mut self, user: &str, root: &dyn RootFiles) -> Result<()> {
        let (first, second) = match user.split(':').collect::<Vec<_>>()[..] {
            [first] => (first, None),
            [first, second] => (first, Some(second)),
            _ => return Err(Error::InvalidUser { value: user.into(), reason: None }),
        };
        let range = |reason| {
            move |()| Error::InvalidUser { value: format!("{user:?}"), reason: Some(reason) }
        };
        let uid = id(first).map_err(range("uid out of range"))?;
        let (uid, gid) = match (uid, second) {
            (Some(uid), None) => {
                let known = find_user(root, |user| user.uid == i64::from(uid))?;
                known.map_or((uid, 0), |user| user.ids())
            }
            (None, None) => {
                find_user(root, |user| user.name == first)?.ok_or(Error::NoUsers)?.ids()
            }
            (uid, Some(second)) => {
                let gid = id(second).map_err(range("gid out of range"))?;
                let uid = match uid {
                    Some(uid) => uid,
                    None => {
                        find_user(root, |user| user.name == first)?.ok_or(Error::NoUsers)?.ids().0
                    }
                };
                let gid = match gid {
                    Some(gid) => gid,
                    None => find_group(root, second)?,
                };
                (uid, gid)
            }
        };
        self.set_user_ids(uid, gid);
        Ok(())
    }

    /// Sets the user by numbers alone.
    pub fn set_user_ids(&mut self, uid: u32, gid: u32) {
        let user = &mut self.process_mut().user;
        user.uid = uid;
        user.gid = gid;
        user.additional_gids.clear();
        self.include_own_group();
    }

    /// Sets the further groups to those that the root's `/etc/group` puts `user` (a name or a number)
    /// into. The user's own group is always among them.
    pub fn set_additional_gids(&mut self, user: &str, root: &dyn RootFiles) -> Result<()> {
        let name = match user.parse::<i64>() {
            Ok(uid) => find_user(root, |user| user.uid == uid)?.map(|user| user.name),
            Err(_) => Some(user.to_owned()),
        };
        let gids = match name {
            None => Vec::new(),
            Some(name) => {
                let text = root.read(GROUP)?.unwrap_or_default();
                let further = |group: &Group| group.name != name && group.members.contains(&name);
                groups(&text).filter(further).map(|group| group.gid()).collect()
            }
        };
        self.process_mut().user.additional_gids = gids;
        self.include_own_group();
        Ok(())
    }

    /// Adds further groups, each a name in the root's `/etc/group` or a number.
    pub fn add_groups(&mut self, names: &[String], root: &dyn RootFiles) -> Result<()> {
        let text = root.read(GROUP)?.unwrap_or_default();
        let gids = names.iter().map(|name| match name.parse::<u32>() {
            Ok(gid) => Ok(gid),
            Err(_) => {
                // Of several entries of one name the last counts.
                let found = groups(&text).filter(|group| group.name == *name).last();
                found.map(|group| group.gid()).ok_or_else(|| Error::NoGroup(name.clone()))
            }
        });
        let gids: Vec<u32> = gids.collect::<Result<_>>()?;
        self.process_mut().user.additional_gids.extend(gids);
        self.include_own_group();
        Ok(())
    }

    fn include_own_group(&mut self) {
        let user = &mut self.process_mut().user;
        if !user.additional_gids.contains(&user.gid) {
            user.additional_gids.insert(0, user.gid);
        }
    }
}

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// A number, or `None` for a name; fails on numbers that are no id (runc takes 31 bits).
fn id(text: &str) -> Result<Option<u32>, ()> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<i32>() {
        Ok(id) => u32::try_from(id).map(Some).map_err(drop),
        Err(_) => Err(()),
    }
}

fn find_user(root: &dyn RootFiles, wanted: impl Fn(&User) -> bool) -> Result<Option<User>> {
    let Some(text) = root.read(PASSWD)? else { return Ok(None) };
    Ok(users(&text).find(wanted))
}

fn find_group(root: &dyn RootFiles, name: &str) -> Result<u32> {
    let text = root.read(GROUP)?.unwrap_or_default();
    let found = groups(&text).find(|group| group.name == name);
    found.map(|group| group.gid()).ok_or(Error::NoGroups)
}

#[cfg(test)]
mod tests;
