//! Configuration in the form that Go's encoder gives it, which tools read with regular expressions:
//! single quotes, tables indented by two spaces, an empty line before a table that follows a value.

use std::fmt::Write as _;

use super::schema::{Field, Shape};
use super::tree::{Node, Table, Value};

/// Prints a table: what has a shape in its order, all else by name.
pub(super) fn print(table: &Table, shape: &Shape) -> String {
    let mut printer = Printer { text: String::new(), after_value: false };
    printer.table(table, shape, &mut Vec::new());
    printer.text
}

/// Writes a key: bare where TOML lets it.
pub(super) fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

struct Printer {
    text: String,
    /// Whether the last line is a value.
    after_value: bool,
}

impl Printer {
    fn table(&mut self, table: &Table, shape: &Shape, path: &mut Vec<String>) {
        let entries = ordered(table, shape);
        let indent = "  ".repeat(path.len());
        for (name, node, _) in entries.iter().filter(|(_, node, _)| !is_table(node)) {
            let _ = writeln!(self.text, "{indent}{} = {}", key(name), inline(node));
            self.after_value = true;
        }
        for (name, node, shape) in entries.iter().filter(|(_, node, _)| is_table(node)) {
            path.push(key(name));
            match &node.value {
                Value::List(list) => {
                    let each = match shape {
                        Shape::Structs(each) => each,
                        _ => &Shape::Any,
                    };
                    for node in list {
                        self.headed(node, each, path, "[[", "]]");
                    }
                }
                _ => self.headed(node, shape, path, "[", "]"),
            }
            path.pop();
        }
    }

    fn headed(
        &mut self,
        node: &Node,
        shape: &Shape,
        path: &mut Vec<String>,
        open: &str,
        close: &str,
    ) {
        if self.after_value {
            self.text.push('\n');
        }
        let indent = "  ".repeat(path.len() - 1);
        let _ = writeln!(self.text, "{indent}{open}{}{close}", path.join("."));
        self.after_value = false;
        if let Some(table) = node.as_table() {
            self.table(table, shape, path);
        }
    }
}

/// Returns the entries in the order in which they are printed, each with its shape.
fn ordered<'a>(table: &'a Table, shape: &'a Shape) -> Vec<(&'a str, &'a Node, &'a Shape)> {
    match shape {
        Shape::Struct(fields) => {
            let entry = |field: &'a Field| {
                Some((field.name.as_str(), table.get(&field.name)?, &field.shape))
            };
            fields.iter().filter_map(entry).collect()
        }
        shape => {
            let of = |name: &str| shape.of(name).unwrap_or(&Shape::Any);
            table.iter().map(|(name, node)| (name.as_str(), node, of(name))).collect()
        }
    }
}

/// Says whether a value is printed below a header.
fn is_table(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::List(list) => !list.is_empty() && list.iter().all(|each| each.as_table().is_some()),
        _ => false,
    }
}

fn inline(node: &Node) -> String {
    let joined = |parts: Vec<String>| parts.join(", ");
    match &node.value {
        Value::Text(text) => quoted(text),
        Value::Whole(number) => number.to_string(),
        Value::Real(number) if number.is_nan() => "nan".to_owned(),
        Value::Real(number) if number.is_infinite() => {
            if *number > 0.0 { "inf" } else { "-inf" }.to_owned()
        }
        Value::Real(number) if number.fract() == 0.0 => format!("{number}.0"),
        Value::Real(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
        Value::Date(date) => date.clone(),
        Value::List(list) => format!("[{}]", joined(list.iter().map(inline).collect())),
        Value::Table(table) => {
            let entry =
                |(name, node): (&String, &Node)| format!("{} = {}", key(name), inline(node));
            format!("{{{}}}", joined(table.iter().map(entry).collect()))
        }
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c != '\'' && (c == '\t' || !c.is_ascii_control());
    if text.chars().all(plain) {
        return format!("'{text}'");
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\u{:04X}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tree::parse;

    #[test]
    fn prints_as_go_does() {
        // What containerd 2.1.9 prints, and reads again.
        let text = r#"e = ''
f = 1000000000000000000000000000000.0
fl = 1.0
l = [1, '2', {a = 1, b = 'q'}]
n = [[1], [2, 3]]
s = 0.000000001
z = "it's \"q\" \n \u0007 é \\"

[a]
[b]
  [b.'']
    x = 1979-05-27T07:32:00Z

  [b.'c.d']
    x = []

[[t]]
  z = 1

[[t]]
  y = false
"#;
        assert_eq!(print(&parse(text, "f").unwrap(), &Shape::Any), text);
    }
}
