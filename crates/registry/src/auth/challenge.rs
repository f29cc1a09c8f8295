//! The `WWW-Authenticate` header (RFC 9110, section 11).

/// One way in that a host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// `basic`, `bearer`, …, in lower case.
    pub scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Returns a parameter by its name in lower case.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Parses a header's value, which may hold several challenges. What makes no sense ends it.
pub(super) fn parse(value: &str) -> Vec<Challenge> {
    let mut rest = value.trim_start();
    let mut found: Vec<Challenge> = Vec::new();
    while let Some((word, after)) = token(rest) {
        let after = after.trim_start();
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(text), Some(challenge)) if !text.starts_with('=') => {
                let Some((text, after)) = parameter(text.trim_start()) else { break };
                challenge.parameters.push((word.to_ascii_lowercase(), text));
                rest = after;
            }
            (Some(_), _) => break,
            (None, _) => {
                found.push(Challenge { scheme: word.to_ascii_lowercase(), parameters: Vec::new() });
                rest = after;
            }
        }
        rest = rest.trim_start_matches([',', ' ', '\t']);
    }
    found
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)))
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn parameter(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        return token(text).map(|(word, rest)| (word.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_registries_send() {
        let found = parse(
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push",error="insufficient_scope""#,
        );
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].scheme, "bearer");
        assert_eq!(found[0].parameter("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(found[0].parameter("scope"), Some("repository:a/b:pull,push"));
        assert_eq!(found[0].parameter("error"), Some("insufficient_scope"));
    }

    #[test]
    fn reads_several_in_one_line() {
        let found = parse(r#"Basic realm="a \"b\", c", Bearer realm=x , service="s", Negotiate"#);
        let schemes: Vec<&str> = found.iter().map(|c| c.scheme.as_str()).collect();
        assert_eq!(schemes, ["basic", "bearer", "negotiate"]);
        assert_eq!(found[0].parameter("realm"), Some(r#"a "b", c"#));
        assert_eq!(found[1].parameter("service"), Some("s"));
    }

    #[test]
    fn survives_nonsense() {
        for bad in ["", "=", "Bearer realm=\"", "Bearer ==", "\"", "Basic realm=\"\\", "ä", "a=b"]
        {
            assert!(parse(bad).len() <= 1, "{bad}");
        }
    }
}
