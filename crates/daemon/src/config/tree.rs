//! What stands in configuration files, with the place where each value stands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use stowd_core::{Error, Result};
use toml::Spanned;
use toml::de::{DeFloat, DeInteger, DeTable, DeValue};

/// A table: what it holds by name.
pub type Table = BTreeMap<String, Node>;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub place: Place,
}

/// A value as TOML has them. Tables and lists hold values with places of their own.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Text(String),
    /// An integer.
    Whole(i64),
    /// A float.
    Real(f64),
    /// A boolean.
    Flag(bool),
    /// A date, a time or both, as written.
    Date(String),
    /// An array.
    List(Vec<Node>),
    /// A table, inline or not.
    Table(Table),
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name; `None` where no file says it.
    pub file: Option<Arc<str>>,
    /// The line, from 1 on; 0 where no file says it.
    pub line: usize,
}

impl Place {
    /// No file says it.
    pub(super) const NOWHERE: Self = Self { file: None, line: 0 };
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{file}:{}", self.line),
            None => f.write_str("defaults or flags"),
        }
    }
}

/// Two values are the same wherever they stand.
impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// Makes a value that no file says.
    pub fn new(value: Value) -> Self {
        Self { value, place: Place::NOWHERE }
    }

    /// Makes a string that no file says.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Value::Text(text.into()))
    }

    /// Makes a table that no file says.
    pub fn table(table: Table) -> Self {
        Self::new(Value::Table(table))
    }

    /// Returns the table that this is.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Returns the string that this is.
    pub fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the integer that this is.
    pub fn as_whole(&self) -> Option<i64> {
        match self.value {
            Value::Whole(number) => Some(number),
            _ => None,
        }
    }

    /// Returns the list of strings that this is.
    pub fn as_texts(&self) -> Option<Vec<&str>> {
        match &self.value {
            Value::List(list) => list.iter().map(Self::as_text).collect(),
            _ => None,
        }
    }

    /// Says whether this is what a program writes for what is not set: an empty string, list or
    /// table, 0 or `false`.
    pub fn is_zero(&self) -> bool {
        match &self.value {
            Value::Text(text) => text.is_empty(),
            Value::Whole(number) => *number == 0,
            Value::Real(number) => *number == 0.0,
            Value::Flag(flag) => !flag,
            Value::Date(_) => false,
            Value::List(list) => list.is_empty(),
            Value::Table(table) => table.is_empty(),
        }
    }

    /// Makes an error that says where the value stands, which key it is and what it must be.
    pub fn wrong(&self, key: &str, wanted: &str) -> Error {
        Error::invalid(format_args!("{}: {key} must be {wanted}, not {self}", self.place))
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Text(text) => write!(f, "the string {text:?}"),
            Value::Whole(number) => write!(f, "the number {number}"),
            Value::Real(number) => write!(f, "the number {number:?}"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Date(date) => write!(f, "the date {date}"),
            Value::List(_) => f.write_str("a list"),
            Value::Table(_) => f.write_str("a table"),
        }
    }
}

/// Returns the table of that name in a table, made when it is missing or something else.
pub(super) fn table_in<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let node = table.entry(name.to_owned()).or_insert_with(|| Node::table(Table::new()));
    if node.as_table().is_none() {
        *node = Node::table(Table::new());
    }
    match &mut node.value {
        Value::Table(table) => table,
        // It was made one above.
        _ => unreachable!("not a table"),
    }
}

/// Parses a file's text.
///
/// # Errors
/// `InvalidArgument` with file, line and column when it is not TOML.
pub fn parse(text: &str, file: &str) -> Result<Table> {
    let file: Arc<str> = file.into();
    let lines = Lines::new(text);
    let root = DeTable::parse(text).map_err(|error| {
        let (line, column) = lines.at(error.span().map_or(0, |span| span.start));
        Error::invalid(format_args!(
            "{file}:{line}: not TOML at column {column}: {}",
            error.message()
        ))
        .hint("`stowd config default` shows a whole file")
    })?;
    Reader { file, lines }.table(root.into_inner())
}

/// Where lines begin.
struct Lines<'a>(&'a str, Vec<usize>);

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let begins = text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n');
        Self(text, std::iter::once(0).chain(begins.map(|(at, _)| at + 1)).collect())
    }

    /// Returns line and column, both from 1 on, of a byte.
    fn at(&self, byte: usize) -> (usize, usize) {
        let line = self.1.partition_point(|&begin| begin <= byte).max(1);
        let begin = self.1[line - 1];
        let before = self.0.get(begin..byte).map_or(0, |text| text.chars().count());
        (line, before + 1)
    }
}

struct Reader<'a> {
    file: Arc<str>,
    lines: Lines<'a>,
}

impl Reader<'_> {
    fn table(&self, table: DeTable<'_>) -> Result<Table> {
        let entry = |(key, value): (Spanned<_>, _)| {
            let line = self.lines.at(key.span().start).0;
            let key: std::borrow::Cow<'_, str> = key.into_inner();
            Ok((key.clone().into_owned(), self.node(value, &key, line)?))
        };
        table.into_iter().map(entry).collect()
    }

    /// Takes a value; tables and what is written over several lines stand where their key stands.
    fn node(&self, value: Spanned<DeValue<'_>>, key: &str, line: usize) -> Result<Node> {
        let place = Place { file: Some(self.file.clone()), line };
        let odd = |what: &str| Error::invalid(format_args!("{place}: {key} is {what}"));
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                Value::Whole(whole(&number).ok_or_else(|| odd("a number of more than 64 bits"))?)
            }
            DeValue::Float(number) => {
                Value::Real(real(&number).ok_or_else(|| odd("not a number that can be kept"))?)
            }
            DeValue::Boolean(flag) => Value::Flag(flag),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(list) => Value::List(
                list.into_iter()
                    .map(|each| {
                        let line = self.lines.at(each.span().start).0;
                        self.node(each, key, line)
                    })
                    .collect::<Result<_>>()?,
            ),
            DeValue::Table(table) => Value::Table(self.table(table)?),
        };
        Ok(Node { value, place })
    }
}

fn whole(number: &DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

fn real(number: &DeFloat<'_>) -> Option<f64> {
    number.as_str().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_know_their_lines() {
        let text = "a = 1\n[t.u]\n# x\n'b c' = [\n 'é',\n 0x1f,\n]\n[[l]]\nd = 1979-05-27\n";
        let table = parse(text, "f.toml").unwrap();
        assert_eq!(table["a"].place.to_string(), "f.toml:1");
        let inner = table["t"].as_table().unwrap()["u"].as_table().unwrap();
        let Value::List(list) = &inner["b c"].value else { panic!() };
        assert_eq!((inner["b c"].place.line, list[1].place.line), (4, 6));
        assert_eq!(list[1].value, Value::Whole(31));
        let Value::List(tables) = &table["l"].value else { panic!() };
        assert_eq!(tables[0].as_table().unwrap()["d"].place.line, 9);
    }

    #[test]
    fn says_where_it_is_not_toml() {
        let error = parse("a = 1\nb = \n", "f.toml").unwrap_err().to_string();
        assert!(error.starts_with("f.toml:2: not TOML at column"), "{error}");
        let error = parse("a = 99999999999999999999", "f.toml").unwrap_err().to_string();
        assert!(error.starts_with("f.toml:1: a is a number"), "{error}");
    }
}
