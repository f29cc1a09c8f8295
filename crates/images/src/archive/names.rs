//! Names of images in archives.
//!
//! A descriptor in an archive's index may carry a full name (`io.containerd.image.name`) or a tag
//! alone (`org.opencontainers.image.ref.name`); [`NameRule`]s say which of them count and what is
//! put before a tag.

use stowd_core::reference::{DEFAULT_HOST, DEFAULT_PREFIX};
use stowd_core::transfer::NameRule;
use stowd_core::{Descriptor, Reference, Result};

/// The annotation with an image's full name.
pub const IMAGE_NAME: &str = "io.containerd.image.name";
/// The annotation with an image's tag, or in archives of others with anything.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Returns a descriptor that carries a name.
#[must_use]
pub fn named(mut target: Descriptor, name: &str) -> Descriptor {
    // The specification wants a tag alone here; what has none is put in whole.
    let tag = name.parse::<Reference>().ok().and_then(|it| Some(it.tag()?.to_owned()));
    target.annotations.insert(IMAGE_NAME.to_owned(), name.to_owned());
    target.annotations.insert(REF_NAME.to_owned(), tag.unwrap_or_else(|| name.to_owned()));
    target
}

/// Returns the names that rules give to a descriptor of an archive's index. Rules that are not
/// prefixes name nothing here.
pub fn names_for(descriptor: &Descriptor, rules: &[NameRule]) -> Vec<String> {
    let mut names = Vec::new();
    for rule in rules.iter().filter(|rule| rule.is_prefix) {
        let name = own_name(descriptor, rule);
        let by_digest = match &name {
            Some(_) => rule.add_digest && !rule.skip_named_digest,
            None => rule.add_digest,
        };
        names.extend(name);
        if by_digest {
            names.push(format!("{}@{}", rule.name, descriptor.digest));
        }
    }
    names
}

/// Returns the name that a descriptor gives itself, as far as the rule takes it.
fn own_name(descriptor: &Descriptor, rule: &NameRule) -> Option<String> {
    let annotation = |key: &str| descriptor.annotations.get(key).filter(|text| !text.is_empty());
    if let Some(name) = annotation(IMAGE_NAME) {
        // It should be full. One that the rule would have to change does not count, and the tag
        // beside it is only a part of it.
        return translated(name, rule).filter(|made| made == name);
    }
    translated(annotation(REF_NAME)?, rule)
}

fn translated(text: &str, rule: &NameRule) -> Option<String> {
    let prefix = rule.name.as_str();
    if prefix.is_empty() {
        return None;
    }
    if !text.contains(['/', ':', '@']) {
        return Some(format!("{prefix}:{text}"));
    }
    let after = text.strip_prefix(prefix);
    let under = after.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
    (rule.allow_overwrite || under).then(|| text.to_owned())
}

/// Returns a name of `docker save` in full: `busybox` is `docker.io/library/busybox:latest`.
pub(super) fn full(name: &str) -> Result<String> {
    Ok(Reference::normalize(name)?.to_string())
}

/// Returns a name as Docker shows it: `docker.io/library/busybox:latest` is `busybox:latest`.
pub(super) fn familiar(name: &str) -> Result<String> {
    let full = Reference::normalize(name)?;
    let text = full.to_string();
    let host = format!("{DEFAULT_HOST}/");
    let Some(rest) = text.strip_prefix(&host) else { return Ok(text) };
    Ok(match rest.strip_prefix(DEFAULT_PREFIX) {
        Some(short) if !short.contains('/') => short.to_owned(),
        _ => rest.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use stowd_core::Digest;

    fn rule(name: &str, overwrite: bool) -> NameRule {
        NameRule {
            name: name.to_owned(),
            is_prefix: true,
            allow_overwrite: overwrite,
            ..NameRule::default()
        }
    }

    fn with(key: &str, value: &str) -> Descriptor {
        let mut made = Descriptor::new("", Digest::of(b""), 0);
        made.annotations.insert(key.to_owned(), value.to_owned());
        made
    }

    #[test]
    fn tags_get_the_prefix_and_names_must_have_it() {
        let strict = [rule("reg.example/app", false)];
        assert_eq!(names_for(&with(REF_NAME, "v1"), &strict), ["reg.example/app:v1"]);
        assert_eq!(
            names_for(&with(IMAGE_NAME, "reg.example/app:x"), &strict),
            ["reg.example/app:x"]
        );
        assert!(names_for(&with(IMAGE_NAME, "reg.example/apple:x"), &strict).is_empty());
        assert!(names_for(&with(IMAGE_NAME, "v1"), &strict).is_empty());
        let loose = [rule("import-2026-01-01", true)];
        assert_eq!(
            names_for(&with(IMAGE_NAME, "reg.example/app:x"), &loose),
            ["reg.example/app:x"]
        );
    }

    #[test]
    fn digests_name_what_has_no_name() {
        let mut rules = [rule("app", false)];
        rules[0].add_digest = true;
        let digest = Digest::of(b"");
        let bare = Descriptor::new("", digest.clone(), 0);
        assert_eq!(names_for(&bare, &rules), [format!("app@{digest}")]);
        let tagged = with(REF_NAME, "v1");
        assert_eq!(names_for(&tagged, &rules), ["app:v1".to_owned(), format!("app@{digest}")]);
        rules[0].skip_named_digest = true;
        assert_eq!(names_for(&tagged, &rules), ["app:v1"]);
    }

    #[test]
    fn short_and_long_names() {
        for (short, long) in [
            ("busybox:latest", "docker.io/library/busybox:latest"),
            ("me/app:1", "docker.io/me/app:1"),
            ("reg.example/a/b:1", "reg.example/a/b:1"),
        ] {
            assert_eq!(full(short).unwrap(), long);
            assert_eq!(familiar(long).unwrap(), short);
        }
    }

    #[test]
    fn carries_names() {
        let made = named(Descriptor::new("", Digest::of(b""), 0), "docker.io/library/busybox:1.36");
        assert_eq!(made.annotations[REF_NAME], "1.36");
        assert_eq!(made.annotations[IMAGE_NAME], "docker.io/library/busybox:1.36");
    }
}
