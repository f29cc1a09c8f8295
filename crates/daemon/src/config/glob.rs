//! Files by patterns, as Go's `filepath.Glob` finds them: `*` and `?` stop at slashes, `[a-z]` is one
//! of these, a backslash takes the next character as it is.

use std::path::{Path, PathBuf};

/// Returns the files that a pattern names, in order; none when a folder cannot be read. `None` for a
/// pattern that cannot be.
pub(super) fn find(pattern: &Path) -> Option<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_os_str();
        let Some(text) = part.to_str().filter(|text| text.contains(['*', '?', '[', '\\'])) else {
            found.iter_mut().for_each(|path| path.push(part));
            continue;
        };
        let pattern: Vec<char> = text.chars().collect();
        matches(&pattern, &[])?;
        let mut next = Vec::new();
        for folder in found {
            let here = if folder.as_os_str().is_empty() { Path::new(".") } else { &folder };
            for entry in std::fs::read_dir(here).into_iter().flatten().flatten() {
                let name = entry.file_name();
                let chars: Vec<char> = name.to_string_lossy().chars().collect();
                if matches(&pattern, &chars)? {
                    next.push(folder.join(name));
                }
            }
        }
        next.sort();
        found = next;
    }
    found.retain(|path| path.symlink_metadata().is_ok());
    Some(found)
}

/// Matches one name. `None` for a pattern that cannot be.
fn matches(pattern: &[char], name: &[char]) -> Option<bool> {
    let (first, rest) = match pattern {
        [] => return Some(name.is_empty()),
        [first, rest @ ..] => (*first, rest),
    };
    match first {
        '*' => {
            for skip in 0..=name.len() {
                if matches(rest, &name[skip..])? {
                    return Some(true);
                }
            }
            Some(false)
        }
        '[' => {
            let end = rest.iter().skip(1).position(|&c| c == ']')? + 1;
            let (set, after) = (&rest[..end], &rest[end + 1..]);
            let (set, wanted) = match set {
                ['^', set @ ..] => (set, false),
                set => (set, true),
            };
            let Some((&c, tail)) = name.split_first() else {
                return matches(after, &[]).map(|_| false);
            };
            Some(matches(after, tail)? && contains(set, c) == wanted)
        }
        _ => {
            let (first, rest) = match (first, rest) {
                ('\\', [escaped, rest @ ..]) => (Some(*escaped), rest),
                ('\\', []) => return None,
                ('?', rest) => (None, rest),
                (first, rest) => (Some(first), rest),
            };
            match name {
                [] => matches(rest, &[]).map(|_| false),
                [c, tail @ ..] => {
                    Some(matches(rest, tail)? && first.is_none_or(|first| first == *c))
                }
            }
        }
    }
}

fn contains(set: &[char], c: char) -> bool {
    match set {
        [low, '-', high, rest @ ..] => (*low..=*high).contains(&c) || contains(rest, c),
        [one, rest @ ..] => *one == c || contains(rest, c),
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_names() {
        let is = |pattern: &str, name: &str| {
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            matches(&chars(pattern), &chars(name))
        };
        assert_eq!(is("*.toml", "a.toml"), Some(true));
        assert_eq!(is("*.toml", "a.toml~"), Some(false));
        assert_eq!(is("?[a-c].*", "xb.y"), Some(true));
        assert_eq!(is("[^a]", "a"), Some(false));
        assert_eq!(is("\\*", "*"), Some(true));
        assert_eq!(is("[a", "a"), None);
    }

    #[test]
    fn finds_in_order() {
        let root = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", "c.conf"] {
            std::fs::write(root.path().join(name), "").unwrap();
        }
        let found = find(&root.path().join("*.toml")).unwrap();
        assert_eq!(found, [root.path().join("a.toml"), root.path().join("b.toml")]);
        assert!(find(Path::new("/nowhere/*.toml")).unwrap().is_empty());
        assert!(find(&root.path().join("[.toml")).is_none());
    }
}
