//! `/etc/passwd` and `/etc/group`, read as forgivingly as Go's clients read them.

/// A line of `/etc/passwd`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: i64,
    gid: i64,
}

/// A line of `/etc/group`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) name: String,
    gid: i64,
    pub(super) members: Vec<String>,
}

impl User {
    /// The user's number and its group's.
    pub(super) fn ids(&self) -> (u32, u32) {
        (narrow(self.uid), narrow(self.gid))
    }
}

impl Group {
    pub(super) fn gid(&self) -> u32 {
        narrow(self.gid)
    }
}

/// Reads lines of `name:password:uid:gid:...`.
pub(super) fn users(text: &[u8]) -> impl Iterator<Item = User> {
    lines(text).map(|line| {
        let mut fields = line.split(':');
        User {
            name: fields.next().unwrap_or_default().to_owned(),
            uid: number(fields.nth(1)),
            gid: number(fields.next()),
        }
    })
}

/// Reads lines of `name:password:gid:member,member`; `#` starts a comment.
pub(super) fn groups(text: &[u8]) -> impl Iterator<Item = Group> {
    lines(text).filter(|line| !line.starts_with('#')).map(|line| {
        let mut fields = line.split(':');
        Group {
            name: fields.next().unwrap_or_default().to_owned(),
            gid: number(fields.nth(1)),
            members: fields
                .next()
                .map(|members| members.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    })
}

fn lines(text: &[u8]) -> impl Iterator<Item = String> {
    let lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty()).map(|line| String::from_utf8_lossy(line).into_owned())
}

/// What is missing or no number counts as zero, as misbehaving files have always been read.
fn number(field: Option<&str>) -> i64 {
    field.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Numbers beyond 32 bits wrap, as Go's conversion does.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "meant, see above")]
fn narrow(number: i64) -> u32 {
    number as u32
}
