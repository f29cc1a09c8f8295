//! Field paths: which parts of an object an update changes.

use stowd_core::{Error, Labels, Result};

/// Removes labels that say nothing: as in containerd, an object has none with an empty value, not
/// even from its creation.
pub(crate) fn tidy(labels: &mut Labels) {
    labels.retain(|_, value| !value.is_empty());
}

/// Changes labels as an update's field paths say: all of them for none, the named ones for
/// `labels.<key>`. A label set to an empty value is removed.
///
/// `name` is what labels are called in paths (`labels`, `annotations`). Returns false for a path
/// that names something else.
pub(crate) fn change(labels: &mut Labels, wanted: &Labels, name: &str, path: &str) -> bool {
    if path == name {
        labels.clone_from(wanted);
        tidy(labels);
        return true;
    }
    let Some(key) = path.strip_prefix(name).and_then(|rest| rest.strip_prefix('.')) else {
        return false;
    };
    match wanted.get(key) {
        Some(value) if !value.is_empty() => drop(labels.insert(key.to_owned(), value.clone())),
        _ => drop(labels.remove(key)),
    }
    true
}

/// Changes the labels of an object that has nothing else to change.
///
/// # Errors
/// `InvalidArgument` for another path; `what` names the object.
pub(crate) fn change_only(
    labels: &mut Labels,
    wanted: &Labels,
    fieldpaths: &[String],
    what: &dyn std::fmt::Display,
) -> Result<()> {
    let all = ["labels".to_owned()];
    let paths = if fieldpaths.is_empty() { all.as_slice() } else { fieldpaths };
    for path in paths {
        if !change(labels, wanted, "labels", path) {
            return Err(cannot(path, what));
        }
    }
    stowd_core::labels::check_all(labels)
}

/// Makes the error for a path that cannot be updated.
pub(crate) fn cannot(path: &str, what: &dyn std::fmt::Display) -> Error {
    Error::invalid(format_args!("cannot update {path:?} field on {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn paths_choose_what_changes() {
        let before = labels(&[("a", "1"), ("b.c", "2")]);
        let wanted = labels(&[("b.c", "3"), ("d", "4"), ("e", "")]);
        for (paths, after) in [
            (vec![], labels(&[("b.c", "3"), ("d", "4")])),
            (vec!["labels"], labels(&[("b.c", "3"), ("d", "4")])),
            (vec!["labels.b.c"], labels(&[("a", "1"), ("b.c", "3")])),
            (vec!["labels.a", "labels.d"], labels(&[("b.c", "2"), ("d", "4")])),
        ] {
            let mut now = before.clone();
            let paths: Vec<String> = paths.into_iter().map(str::to_owned).collect();
            change_only(&mut now, &wanted, &paths, &"x").unwrap();
            assert_eq!(now, after, "{paths:?}");
        }
        let other = ["size".to_owned()];
        assert!(change_only(&mut before.clone(), &wanted, &other, &"x").is_err());
    }
}
