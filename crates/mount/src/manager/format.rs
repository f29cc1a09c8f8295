//! The transformer `format/`: fills what is known of the mounts before into the texts of a mount.
//!
//! containerd takes Go's template language for this. What makes sense of it in a mount is understood:
//! an action with one of the four functions and whole numbers, comments, and the marks `{{-` and `-}}`
//! that take away the space around an action.

use stowd_core::mount::Mount;
use stowd_core::mounts::ActiveMount;
use stowd_core::{Error, Result};

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Fills in a mount's source, target and options.
///
/// # Errors
/// `InvalidArgument` for an action that is not understood, or names a mount that there is not.
pub(crate) fn transform(mut mount: Mount, active: &[ActiveMount]) -> Result<Mount> {
    let texts = [&mut mount.source, &mut mount.target].into_iter().chain(&mut mount.options);
    for text in texts {
        if text.contains(OPEN) {
            *text = fill(text, active)?;
        }
    }
    Ok(mount)
}

fn fill(text: &str, active: &[ActiveMount]) -> Result<String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(OPEN) {
        let Some((mut action, mut behind)) = after.split_once(CLOSE) else {
            return Err(Error::invalid(format_args!("format {text:?}: unclosed action")));
        };
        filled.push_str(before);
        // A mark is one only with space beside it: `{{-1}}` is a number.
        if let Some(marked) = action.strip_prefix('-')
            && marked.starts_with(is_space)
        {
            action = marked;
            filled.truncate(filled.trim_end_matches(is_space).len());
        }
        if let Some(marked) = action.strip_suffix('-')
            && marked.ends_with(is_space)
        {
            action = marked;
            behind = behind.trim_start_matches(is_space);
        }
        let action = action.trim_matches(is_space);
        if !(action.starts_with("/*") && action.ends_with("*/")) {
            let value = value(action, active)
                .map_err(|error| error.context(format_args!("format {text:?}")))?;
            filled.push_str(&value);
        }
        rest = behind;
    }
    filled.push_str(rest);
    Ok(filled)
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

fn value(action: &str, active: &[ActiveMount]) -> Result<String> {
    let mut words = action.split(is_space).filter(|word| !word.is_empty());
    let name = words.next().unwrap_or_default();
    let numbers: Vec<i64> = words.map(str::parse).collect::<Result<_, _>>().map_err(|_| {
        Error::invalid(format_args!("the arguments of {action:?} are not whole numbers"))
    })?;
    let at = |index: i64| -> Result<&ActiveMount> {
        usize::try_from(index).ok().and_then(|index| active.get(index)).ok_or_else(|| {
            Error::invalid(format_args!(
                "index out of bounds: {index}, has {} active mounts",
                active.len()
            ))
        })
    };
    match (name, numbers.as_slice()) {
        ("source", &[index]) => at(index).map(|made| made.mount.source.clone()),
        ("target", &[index]) => at(index).map(|made| made.mount.target.clone()),
        ("mount", &[index]) => at(index).map(|made| made.point.clone()),
        ("overlay", &[start, end]) => {
            // Both ends first: the range between numbers out of bounds may be endless.
            at(start).and(at(end))?;
            let points = |range: &mut dyn Iterator<Item = i64>| {
                range.map(|index| at(index).map(|made| made.point.as_str())).collect()
            };
            let points: Result<Vec<&str>> = if start > end {
                points(&mut (end..=start).rev())
            } else {
                points(&mut (start..=end))
            };
            points.map(|points| points.join(":"))
        }
        _ => Err(Error::invalid(format_args!("the action {action:?} is not understood"))
            .hint("there are: source N, target N, mount N, overlay N M")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active() -> Vec<ActiveMount> {
        (0..3)
            .map(|number| ActiveMount {
                mount: Mount {
                    source: format!("s{number}"),
                    target: format!("t{number}"),
                    ..Mount::default()
                },
                point: format!("/m/{number}"),
                ..ActiveMount::default()
            })
            .collect()
    }

    #[test]
    fn what_is_known_is_filled_in() {
        for (text, filled) in [
            ("plain }} text", "plain }} text"),
            ("{{ source 0 }}", "s0"),
            ("{{target 1}}", "t1"),
            ("upperdir={{ mount 2 }}/upper", "upperdir=/m/2/upper"),
            ("{{ overlay 0 2 }}", "/m/0:/m/1:/m/2"),
            ("{{ overlay 2 1 }}", "/m/2:/m/1"),
            ("{{ overlay 1 1 }}", "/m/1"),
            ("a {{- mount 0 -}} b{{/* no more */}}", "a/m/0b"),
            ("{{ mount 0 }}:{{ mount 1 }}", "/m/0:/m/1"),
        ] {
            assert_eq!(fill(text, &active()).unwrap(), filled, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_refused() {
        for text in [
            "{{ mount 3 }}",
            "{{ mount -1 }}",
            "{{-1}}",
            "{{ mount }}",
            "{{ mount 0 1 }}",
            "{{ mount x }}",
            "{{ overlay 0 3 }}",
            "{{ overlay -1 2 }}",
            "{{ overlay 0 9223372036854775807 }}",
            "{{ printf 1 }}",
            "{{ }}",
            "{{ mount 0",
            "{{ mount 99999999999999999999 }}",
        ] {
            assert!(fill(text, &active()).is_err(), "{text}");
        }
    }

    #[test]
    fn every_text_of_a_mount_is_filled_in() {
        let mount = Mount {
            kind: "overlay".to_owned(),
            source: "{{ source 1 }}".to_owned(),
            target: "{{ target 1 }}".to_owned(),
            options: vec!["ro".to_owned(), "lowerdir={{ overlay 0 1 }}".to_owned()],
        };
        let filled = transform(mount, &active()).unwrap();
        assert_eq!((filled.source.as_str(), filled.target.as_str()), ("s1", "t1"));
        assert_eq!(filled.options, ["ro", "lowerdir=/m/0:/m/1"]);
    }
}
