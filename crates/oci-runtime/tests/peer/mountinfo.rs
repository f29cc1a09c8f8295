//! `mountinfo` in a form that two runs can be compared in.

use std::collections::BTreeMap;

/// One line, taken apart.
struct Mount<'a> {
    id: &'a str,
    parent: &'a str,
    device: &'a str,
    root: &'a str,
    point: &'a str,
    options: &'a str,
    tags: Vec<&'a str>,
    kind: &'a str,
    source: &'a str,
    super_options: &'a str,
}

/// Numbers that only have to be the same where they were the same.
#[derive(Default)]
struct Numbers<'a>(BTreeMap<&'a str, usize>);

impl<'a> Numbers<'a> {
    fn of(&mut self, number: &'a str) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(number).or_insert(next)
    }
}

/// The tree of mounts, depth first, children by their place.
///
/// The kernel's order is that in which mounts were made, also detached ones, and no program can rely
/// on it; what lies on what is in the tree. Ids of mounts, anonymous devices and peer groups are given
/// out by the kernel as they come.
pub(crate) fn tree(text: &str) -> Vec<String> {
    let mounts: Option<Vec<Mount<'_>>> = text.lines().map(parse).collect();
    // Not a table: an error message, to be compared as it is.
    let Some(mounts) = mounts else { return text.lines().map(str::to_owned).collect() };
    let is_top = |mount: &&Mount<'_>| !mounts.iter().any(|other| other.id == mount.parent);
    let mut lines = Vec::new();
    let (mut devices, mut peers) = (Numbers::default(), Numbers::default());
    let mut pending: Vec<(&Mount<'_>, usize)> =
        mounts.iter().filter(is_top).map(|mount| (mount, 0)).collect();
    while let Some((mount, depth)) = pending.pop() {
        lines.push(format!("{}{}", "  ".repeat(depth), show(mount, &mut devices, &mut peers)));
        let mut below: Vec<_> = mounts
            .iter()
            .filter(|other| other.parent == mount.id && other.id != mount.id)
            .collect();
        below.sort_by_key(|mount| std::cmp::Reverse(mount.point));
        pending.extend(below.into_iter().map(|mount| (mount, depth + 1)));
    }
    lines
}

fn show<'a>(mount: &Mount<'a>, devices: &mut Numbers<'a>, peers: &mut Numbers<'a>) -> String {
    let device = match mount.device.strip_prefix("0:") {
        Some(anonymous) => format!("0:#{}", devices.of(anonymous)),
        None => mount.device.to_owned(),
    };
    let tags: String = mount
        .tags
        .iter()
        .map(|tag| match tag.split_once(':') {
            Some((kind, group)) => format!(" {kind}:#{}", peers.of(group)),
            None => format!(" {tag}"),
        })
        .collect();
    let Mount { root, point, options, kind, source, super_options, .. } = mount;
    format!("{point} {options}{tags} - {kind} {source} {root} {super_options} {device}")
}

fn parse(line: &str) -> Option<Mount<'_>> {
    let (left, right) = line.split_once(" - ")?;
    let mut left = left.split(' ');
    let mut next = || left.next();
    let (id, parent, device, root, point, options) =
        (next()?, next()?, next()?, next()?, next()?, next()?);
    let mut right = right.splitn(3, ' ');
    Some(Mount {
        id,
        parent,
        device,
        root,
        point,
        options,
        tags: left.collect(),
        kind: right.next()?,
        source: right.next()?,
        super_options: right.next()?,
    })
}

#[test]
fn trees_are_compared_whatever_their_numbers() {
    let one = "30 1 8:1 /b / rw master:7 - ext4 /dev/a rw\n31 30 0:40 / /proc rw - proc proc rw\n\
               32 31 0:40 /x /proc/x ro - proc proc rw\n33 30 0:41 / /dev rw shared:9 - tmpfs t rw\n";
    let other = "90 5 8:1 /b / rw master:2 - ext4 /dev/a rw\n93 90 0:7 / /dev rw shared:4 - tmpfs t rw\n\
                 94 90 0:9 / /proc rw - proc proc rw\n97 94 0:9 /x /proc/x ro - proc proc rw\n";
    assert_eq!(tree(one), tree(other));
    assert_eq!(tree(one)[2], "  /proc rw - proc proc / rw 0:#2");
    assert_eq!(tree("cat: no\n"), ["cat: no"]);
}
