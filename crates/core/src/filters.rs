//! The filter language of list and subscribe calls.
//!
//! A filter is a comma-separated list of selectors that must all hold; a call takes several
//! filters of which one must hold, and none at all means everything. A selector is a field path,
//! alone (the field is present) or with an operator and a value:
//!
//! ```text
//! name==docker.io/library/busybox:latest,labels."io.example/team"==red
//! topic~=|^/tasks/|,namespace!=moby
//! ```
//!
//! Operators: `==`, `!=`, `~=` (regular expression). A value or a path component is a bare word or
//! quoted with `"`, and for `~=` also with `/` or `|`. Spaces between them do not count (containerd
//! `filters`).

use std::borrow::Cow;
use std::fmt::Display;

use regex_lite::Regex;

use crate::{Error, Result};

/// An object that can be asked for its fields.
pub trait Adaptor {
    /// Returns the value at a path, or nothing when the object has no such field.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

/// One filter: selectors that must all hold.
#[derive(Clone, Debug)]
pub struct Filter {
    text: String,
    selectors: Vec<Selector>,
}

/// Filters of which one must hold; when there are none, everything passes.
#[derive(Clone, Debug, Default)]
pub struct Filters(Vec<Filter>);

#[derive(Clone, Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Present,
    Equal(String),
    NotEqual(String),
    Matches(Regex),
}

impl Filters {
    /// Parses the filters of a call. Empty strings pass everything, as in containerd.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] with the place where a filter stops making sense.
    pub fn parse<S: AsRef<str>>(filters: &[S]) -> Result<Self> {
        filters.iter().map(|f| Filter::parse(f.as_ref())).collect::<Result<_>>().map(Self)
    }

    /// Says whether an object passes.
    pub fn matches(&self, object: &dyn Adaptor) -> bool {
        self.0.is_empty() || self.0.iter().any(|filter| filter.matches(object))
    }

    /// Says whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the filters as they were written, to be passed on.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(|filter| filter.text.clone()).collect()
    }

    /// Returns the values that a field must equal, when each filter demands one with `==`: such a
    /// call can be answered by key instead of by walking everything.
    pub fn exact(&self, path: &[&str]) -> Option<Vec<&str>> {
        if self.0.is_empty() {
            return None;
        }
        self.0
            .iter()
            .map(|filter| {
                filter.selectors.iter().find_map(|selector| match &selector.test {
                    Test::Equal(value) if selector.path.iter().eq(path) => Some(value.as_str()),
                    _ => None,
                })
            })
            .collect()
    }
}

impl Filter {
    /// Parses one filter.
    ///
    /// # Errors
    /// [`crate::ErrorKind::InvalidArgument`] with the place where it stops making sense.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parser = Parser { text, at: 0 };
        if text.is_empty() {
            return Ok(Self { text: String::new(), selectors: Vec::new() });
        }
        let mut selectors = vec![parser.selector()?];
        while !parser.is_done() {
            if !parser.take(",") {
                let next = parser.rest().chars().next().unwrap_or_default();
                return Err(parser.error(format_args!("unexpected input: {next}")));
            }
            selectors.push(parser.selector()?);
        }
        Ok(Self { text: text.to_owned(), selectors })
    }

    /// Says whether all selectors hold.
    pub fn matches(&self, object: &dyn Adaptor) -> bool {
        self.selectors.iter().all(|selector| selector.matches(object))
    }
}

impl Selector {
    fn matches(&self, object: &dyn Adaptor) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = object.field(&path);
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(wanted) => value.is_some_and(|v| v == wanted.as_str()),
            Test::NotEqual(unwanted) => value.is_none_or(|v| v != unwanted.as_str()),
            Test::Matches(pattern) => value.is_some_and(|v| pattern.is_match(&v)),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn selector(&mut self) -> Result<Selector> {
        let mut path = vec![self.component()?];
        while self.take(".") {
            path.push(self.component()?);
        }
        if self.is_done() || self.rest().starts_with(',') {
            return Ok(Selector { path, test: Test::Present });
        }
        let start = self.at;
        let operator = self.word(|c| matches!(c, '=' | '!' | '~'));
        let test = match operator.as_str() {
            "==" => Test::Equal(self.value(&['"'])?),
            "!=" => Test::NotEqual(self.value(&['"'])?),
            "~=" => {
                let start = self.at;
                let pattern = self.value(&['"', '/', '|'])?;
                let compiled = Regex::new(&pattern);
                Test::Matches(compiled.map_err(|error| {
                    self.error_at(start, format_args!("bad regular expression: {error}"))
                })?)
            }
            "" => {
                let wanted = "expected an operator (\"==\"|\"!=\"|\"~=\")";
                return Err(self.error(wanted));
            }
            other => {
                return Err(self.error_at(start, format_args!("unsupported operator {other:?}")));
            }
        };
        Ok(Selector { path, test })
    }

    fn component(&mut self) -> Result<String> {
        self.skip_spaces();
        if self.rest().starts_with('"') {
            return self.quoted('"');
        }
        let word = self.word(is_word);
        if word.is_empty() {
            return Err(self.error("expected field or quoted"));
        }
        Ok(word)
    }

    fn value(&mut self, quotes: &[char]) -> Result<String> {
        self.skip_spaces();
        if let Some(quote) = self.rest().chars().next().filter(|c| quotes.contains(c)) {
            return self.quoted(quote);
        }
        // A bare value runs to the next comma or space: clients pass references and paths unquoted.
        let word = self.word(|c| c != ',' && c != '"' && !c.is_whitespace());
        if word.is_empty() {
            return Err(self.error("expected value or quoted"));
        }
        Ok(word)
    }

    /// Takes the characters that belong to a word; none when already the next does not.
    fn word(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let word: String = self.rest().chars().take_while(|&c| belongs(c)).collect();
        self.at += word.len();
        word
    }

    fn quoted(&mut self, quote: char) -> Result<String> {
        let mut value = String::new();
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            if c == quote {
                self.at += i + quote.len_utf8();
                return Ok(value);
            }
            if c != '\\' {
                value.push(c);
                continue;
            }
            match chars.next() {
                Some((_, escaped)) if escaped == quote => value.push(escaped),
                Some((_, '\\')) if quote == '"' => value.push('\\'),
                Some((_, 'n')) if quote == '"' => value.push('\n'),
                Some((_, 't')) if quote == '"' => value.push('\t'),
                // In a pattern every other backslash belongs to the pattern.
                Some((_, other)) if quote != '"' => value.extend(['\\', other]),
                _ => return Err(self.error("bad escape in a quoted string")),
            }
        }
        Err(self.error("quoted string is not closed"))
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn skip_spaces(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn is_done(&mut self) -> bool {
        self.skip_spaces();
        self.rest().is_empty()
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_spaces();
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len();
        }
        taken
    }

    fn error(&self, what: impl Display) -> Error {
        self.error_at(self.at, what)
    }

    /// Shows the place as containerd does, since people search for its words.
    fn error_at(&self, at: usize, what: impl Display) -> Error {
        let (before, after) = self.text.split_at(at);
        let mut after = after.chars();
        match after.next() {
            Some(here) => Error::invalid(format_args!(
                "filters: parse error: [{before} >|{here}|< {}]: {what}",
                after.as_str()
            )),
            None => Error::invalid(format_args!("filters: parse error: [{before}]: {what}")),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// Looks a label up for an [`Adaptor`]: the rest of the path, joined by dots, is its key.
pub fn label<'a>(labels: &'a crate::Labels, path: &[&str]) -> Option<Cow<'a, str>> {
    if path.is_empty() {
        return None;
    }
    labels.get(&path.join(".")).map(|value| Cow::Borrowed(value.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Object(crate::Labels);

    impl Adaptor for Object {
        fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
            match path {
                ["name"] => Some("docker.io/library/a:1".into()),
                ["topic"] => Some("/tasks/exit".into()),
                ["labels", rest @ ..] => label(&self.0, rest),
                _ => None,
            }
        }
    }

    fn holds(filter: &str) -> bool {
        let labels = BTreeMap::from([
            ("a.b/c".to_owned(), "x".to_owned()),
            ("plain".to_owned(), "y,z".to_owned()),
        ]);
        Filter::parse(filter).unwrap().matches(&Object(labels))
    }

    #[test]
    fn understands_containerds_language() {
        assert!(holds(""));
        assert!(holds("name==docker.io/library/a:1"));
        assert!(!holds("name!=docker.io/library/a:1"));
        assert!(holds("topic~=|^/tasks/|,name"));
        assert!(holds("topic~=/^\\/tasks/"));
        assert!(holds("topic~=tasks"));
        assert!(holds(r#"labels."a.b/c"==x"#));
        assert!(holds("labels.plain==\"y,z\""));
        assert!(!holds("labels.other"));
        assert!(holds("labels.other!=x"));
        assert!(!holds("name,labels.other"));
        assert!(holds("topic == /tasks/exit , name "));
        assert!(!holds("topic==/tasks/exit, labels.other"));
    }

    #[test]
    fn refuses_nonsense_with_a_place() {
        for bad in ["=", "a==", "a,,b", "a~=[", "a==\"x", "a b", "a==b c", ",", "a.=x"] {
            let error = Filter::parse(bad).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{bad}");
        }
        let said = |text: &str| Filter::parse(text).unwrap_err().message().to_owned();
        assert!(said("a=~b").contains(r#"[a >|=|< ~b]: unsupported operator "=~""#));
        assert!(said("a b").contains("[a  >|b|< ]: expected an operator"));
        assert!(said("a==").contains("[a==]: expected value or quoted"));
        assert!(said("a==b é").contains("[a==b  >|é|< ]: unexpected input: é"));
    }

    #[test]
    fn finds_exact_values() {
        let filters = Filters::parse(&["name==a", "name==b,labels.x"]).unwrap();
        assert_eq!(filters.exact(&["name"]), Some(vec!["a", "b"]));
        assert_eq!(Filters::parse(&["name==a", "labels.x"]).unwrap().exact(&["name"]), None);
    }
}
