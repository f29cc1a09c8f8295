//! Kinds of arguments that several commands take.

use std::str::FromStr;

use stowd_core::Labels;

/// `KEY=VALUE`; without a value the label is to be cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    key: String,
    value: String,
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(format!("{text:?} has no key; labels are KEY=VALUE"));
        }
        Ok(Self { key: key.to_owned(), value: value.to_owned() })
    }
}

/// Gathers labels as the contracts take them: an empty value removes.
pub(crate) fn removals_and_labels(labels: Vec<Label>) -> Labels {
    labels.into_iter().map(|label| (label.key, label.value)).collect()
}

/// Words labels as ctr's tables do: `a=b,c=d`.
pub(crate) fn words_of_labels(labels: &Labels) -> String {
    let words: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_have_a_key() {
        assert_eq!("a=b=c".parse(), Ok(Label { key: "a".into(), value: "b=c".into() }));
        assert_eq!("a".parse(), Ok(Label { key: "a".into(), value: String::new() }));
        assert!("=b".parse::<Label>().is_err());
    }
}
