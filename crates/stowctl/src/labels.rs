//! Labels as ctr reads them on its command line and shows them in its tables.

use stowd_core::{Error, Labels, Result};

/// Reads labels: `KEY=VALUE`, where `KEY=` has an empty value and `KEY` alone the value `true`.
///
/// # Errors
/// `InvalidArgument` for one without a key.
pub(crate) fn parse(words: &[String]) -> Result<Labels> {
    words.iter().map(|word| pair(word, "true")).collect()
}

/// Reads labels of leases, where `KEY` alone has an empty value.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_plain(words: &[String]) -> Result<Labels> {
    words.iter().map(|word| pair(word, "")).collect()
}

/// Returns the field paths by which an update names these labels.
pub(crate) fn paths(labels: &Labels) -> Vec<String> {
    labels.keys().map(|key| format!("labels.{key}")).collect()
}

/// Words labels for a table: `a=b,c=d`, or `-` when there are none.
pub(crate) fn cell(labels: &Labels) -> String {
    if labels.is_empty() { "-".to_owned() } else { crate::arguments::words_of_labels(labels) }
}

fn pair(word: &str, alone: &str) -> Result<(String, String)> {
    let (key, value) = word.split_once('=').unwrap_or((word, alone));
    if key.is_empty() {
        return Err(Error::invalid(format_args!("label {word:?} has no key"))
            .hint("labels are KEY=VALUE; KEY= clears one"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_alone_is_true() {
        let words = ["a=b=c".to_owned(), "d".to_owned(), "e=".to_owned()];
        let labels = parse(&words).unwrap();
        assert_eq!(cell(&labels), "a=b=c,d=true,e=");
        assert_eq!(cell(&Labels::new()), "-");
        assert_eq!(parse_plain(&words).unwrap()["d"], "");
        assert!(parse(&["=x".to_owned()]).is_err());
    }
}
