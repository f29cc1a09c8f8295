//! Labels that say which ids a container's root user has outside.

use stowd_core::{Error, Labels, Result};

/// Lists pairs `container:host:count`, joined by commas.
const UID_LABEL: &str = "containerd.io/snapshot/uidmapping";
/// The same for groups.
const GID_LABEL: &str = "containerd.io/snapshot/gidmapping";

/// Returns the user and group outside that the mapping gives to the container's root, where there is
/// a mapping.
pub(crate) fn root_of(labels: &Labels) -> Result<Option<(u32, u32)>> {
    match (labels.get(UID_LABEL), labels.get(GID_LABEL)) {
        (None, None) => Ok(None),
        (Some(uids), Some(gids)) => {
            Ok(Some((root_in(UID_LABEL, uids)?, root_in(GID_LABEL, gids)?)))
        }
        _ => Err(Error::invalid(format_args!(
            "labels {UID_LABEL} and {GID_LABEL} must be given together"
        ))),
    }
}

/// Says whether this process sees only some of the machine's ids.
pub(crate) fn in_user_namespace() -> bool {
    let Ok(map) = std::fs::read_to_string("/proc/self/uid_map") else { return false };
    let fields: Vec<&str> = map.split_whitespace().collect();
    fields != ["0", "0", "4294967295"]
}

fn root_in(label: &str, mapping: &str) -> Result<u32> {
    let wrong = || Error::invalid(format_args!("label {label}: {mapping:?} maps no root"));
    for piece in mapping.split(',') {
        let mut numbers = piece.split(':').map(|number| number.parse::<u32>());
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(0)), Some(Ok(host)), Some(Ok(count)), None) if count > 0 => return Ok(host),
            (Some(Ok(_)), Some(Ok(_)), Some(Ok(_)), None) => {}
            _ => return Err(wrong()),
        }
    }
    Err(wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_mapped_root() {
        let labels = |uid: &str, gid: &str| {
            Labels::from([
                (UID_LABEL.to_owned(), uid.to_owned()),
                (GID_LABEL.to_owned(), gid.to_owned()),
            ])
        };
        assert_eq!(root_of(&Labels::new()).unwrap(), None);
        assert_eq!(root_of(&labels("0:1000:10", "1:5:1,0:2000:10")).unwrap(), Some((1000, 2000)));
        for bad in ["", "0:1", "a:b:c", "1:1000:10", "0:1000:0"] {
            assert!(root_of(&labels(bad, "0:1:1")).is_err(), "{bad}");
        }
        let half = Labels::from([(UID_LABEL.to_owned(), "0:1:1".to_owned())]);
        assert!(root_of(&half).is_err());
    }
}
