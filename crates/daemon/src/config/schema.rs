//! What containerd's configuration can say: keys, types, defaults and order, read from `schema.toml`.
//!
//! One table of facts serves for checking what files say, for filling in what they leave out, and
//! for printing all of it in containerd's order.

use std::sync::LazyLock;
use std::time::Duration;

use stowd_core::Result;
use toml::de::{DeTable, DeValue};

use super::duration;
use super::tree::{self, Node, Table, Value};

/// What a value may be.
#[derive(Clone, Debug)]
pub(super) enum Shape {
    Text,
    /// A duration as Go writes it, or nanoseconds.
    Wait,
    Whole,
    Real,
    Flag,
    Texts,
    /// A table with these keys, in this order.
    Struct(Vec<Field>),
    /// A table with any keys; some have a shape of their own.
    Map(Vec<Field>, Box<Shape>),
    /// Tables with these keys.
    Structs(Box<Shape>),
    Any,
}

/// A key of a table.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) shape: Shape,
    /// Whether it is there only where a file sets it.
    pub(super) optional: bool,
}

/// The whole of it: shape and defaults.
pub(super) struct Schema {
    pub(super) shape: Shape,
    pub(super) defaults: Table,
    /// The defaults of plugins that are printed only where a file sets them.
    pub(super) optional: Table,
}

const TEXT: &str = include_str!("schema.toml");

/// Returns the schema.
pub(super) fn schema() -> &'static Schema {
    static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
        // The text is part of the program, and a test reads it.
        let root = DeTable::parse(TEXT).map(toml::Spanned::into_inner).unwrap_or_default();
        let defaults = tree::parse(TEXT, "").unwrap_or_default();
        let plugins = defaults.get("plugins").and_then(Node::as_table).cloned();
        let optional = plugins.into_iter().flatten().filter_map(|(name, node)| {
            let (name, table) = (name.strip_suffix('?')?.to_owned(), node.as_table()?.clone());
            Some((name, Node::table(defaults_of(table))))
        });
        Schema {
            shape: shape_of_table(&root),
            optional: optional.collect(),
            defaults: defaults_of(defaults),
        }
    });
    &SCHEMA
}

fn shape_of(value: &DeValue<'_>) -> Shape {
    match value {
        DeValue::String(text) if is_wait(text) => Shape::Wait,
        DeValue::String(_) | DeValue::Datetime(_) => Shape::Text,
        DeValue::Integer(_) => Shape::Whole,
        DeValue::Float(_) => Shape::Real,
        DeValue::Boolean(_) => Shape::Flag,
        DeValue::Array(list) => match list.first().map(|first| first.get_ref()) {
            Some(DeValue::Table(table)) => Shape::Structs(Box::new(shape_of_table(table))),
            _ => Shape::Texts,
        },
        DeValue::Table(table) => shape_of_table(table),
    }
}

fn shape_of_table(table: &DeTable<'_>) -> Shape {
    // The order is that of the text, whatever order the parser keeps.
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut fields: Vec<Field> = Vec::new();
    let mut each = None;
    for (key, value) in entries {
        let shape = shape_of(value.get_ref());
        match key.get_ref().as_ref() {
            "*" => each = Some(shape),
            name => fields.push(Field {
                name: name.trim_end_matches('?').to_owned(),
                shape,
                optional: name.ends_with('?'),
            }),
        }
    }
    match each {
        Some(Shape::Any) => Shape::Map(fields, Box::new(Shape::Any)),
        // The named ones are defaults, and have the shape of all.
        Some(each) => Shape::Map(Vec::new(), Box::new(each)),
        None if fields.is_empty() => Shape::Any,
        None => Shape::Struct(fields),
    }
}

fn is_wait(text: &str) -> bool {
    text.ends_with('s') && duration::parse(text).is_some()
}

fn defaults_of(table: Table) -> Table {
    let kept = table.into_iter().filter(|(name, _)| name != "*" && !name.ends_with('?'));
    kept.map(|(name, node)| match node.value {
        Value::Table(table) => (name, Node::table(defaults_of(table))),
        value => (name, Node::new(value)),
    })
    .collect()
}

impl Shape {
    /// Returns what a key of this table may be.
    pub(super) fn of(&self, name: &str) -> Option<&Shape> {
        match self {
            Self::Struct(fields) => fields.iter().find(|f| f.name == name).map(|f| &f.shape),
            Self::Map(fields, each) => {
                Some(fields.iter().find(|f| f.name == name).map_or(&**each, |f| &f.shape))
            }
            _ => None,
        }
    }

    /// Says whether a value is of this shape, or what it must be.
    fn wants(&self, node: &Node) -> Option<&'static str> {
        let fits = match (self, &node.value) {
            (Self::Any, _)
            | (Self::Text, Value::Text(_))
            | (Self::Whole, Value::Whole(_))
            | (Self::Real, Value::Real(_) | Value::Whole(_))
            | (Self::Flag, Value::Flag(_))
            | (Self::Struct(_) | Self::Map(..), Value::Table(_)) => true,
            (Self::Wait, Value::Whole(nanos)) => *nanos >= 0,
            (Self::Wait, Value::Text(text)) => duration::parse(text).is_some(),
            (Self::Texts, Value::List(_)) => node.as_texts().is_some(),
            (Self::Structs(_), Value::List(list)) => list.iter().all(|n| n.as_table().is_some()),
            _ => false,
        };
        (!fits).then_some(match self {
            Self::Text => "a string",
            Self::Wait => "a duration such as \"2s\" or \"500ms\"",
            Self::Whole => "a whole number",
            Self::Real => "a number",
            Self::Flag => "true or false",
            Self::Texts => "a list of strings",
            Self::Structs(_) => "a list of tables",
            _ => "a table",
        })
    }

    /// Checks a value, brings its keys and durations into their one form, and takes out what is
    /// not known, which `unknown` hears of.
    ///
    /// # Errors
    /// `InvalidArgument` with file, line and key for a value of a wrong type.
    pub(super) fn conform(
        &self,
        node: Node,
        key: &str,
        unknown: &mut dyn FnMut(&str, &Node),
    ) -> Result<Node> {
        if let Some(wanted) = self.wants(&node) {
            return Err(node.wrong(key, wanted));
        }
        let place = node.place;
        let value = match (self, node.value) {
            (Self::Wait, Value::Text(text)) => {
                Value::Text(duration::print(duration::parse(&text).unwrap_or_default()))
            }
            (Self::Wait, Value::Whole(nanos)) => {
                Value::Text(duration::print(Duration::from_nanos(nanos.unsigned_abs())))
            }
            #[allow(clippy::cast_precision_loss, reason = "a number that people write")]
            (Self::Real, Value::Whole(number)) => Value::Real(number as f64),
            (Self::Structs(each), Value::List(list)) => {
                let one = |node| each.conform(node, key, unknown);
                Value::List(list.into_iter().map(one).collect::<Result<_>>()?)
            }
            (Self::Struct(fields), Value::Table(table)) => {
                let mut kept = Table::new();
                for (name, node) in table {
                    let key = join(key, &name);
                    // As Go's decoder does it, a key may be written in capitals.
                    let exact = fields.iter().find(|f| f.name == name);
                    match exact
                        .or_else(|| fields.iter().find(|f| f.name.eq_ignore_ascii_case(&name)))
                    {
                        Some(field) => {
                            let node = field.shape.conform(node, &key, unknown)?;
                            kept.insert(field.name.clone(), node);
                        }
                        None => unknown(&key, &node),
                    }
                }
                Value::Table(kept)
            }
            (Self::Map(..), Value::Table(table)) => {
                let mut kept = Table::new();
                for (name, node) in table {
                    let shape = self.of(&name).unwrap_or(&Self::Any);
                    let node = shape.conform(node, &join(key, &name), unknown)?;
                    kept.insert(name, node);
                }
                Value::Table(kept)
            }
            (_, value) => value,
        };
        Ok(Node { value, place })
    }

    /// Returns what is given, with defaults where nothing is.
    pub(super) fn complete(&self, given: Option<&Node>, default: Option<&Node>) -> Node {
        fn within<'a>(node: Option<&'a Node>, name: &str) -> Option<&'a Node> {
            node?.as_table()?.get(name)
        }
        let place = || given.map_or(tree::Place::NOWHERE, |node| node.place.clone());
        match self {
            Self::Struct(fields) => {
                let mut table = Table::new();
                for field in fields {
                    let (given, default) =
                        (within(given, &field.name), within(default, &field.name));
                    if given.is_some() || default.is_some() || !field.optional {
                        table.insert(field.name.clone(), field.shape.complete(given, default));
                    }
                }
                Node { value: Value::Table(table), place: place() }
            }
            Self::Map(fields, _) => {
                let named = fields.iter().filter(|field| !field.optional).map(|field| &field.name);
                let held = |node: Option<&Node>| -> Vec<String> {
                    let table = node.and_then(Node::as_table);
                    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
                };
                let mut names: Vec<String> = named.cloned().collect();
                names.extend(held(given));
                names.extend(held(default));
                let entry = |name: String| {
                    let shape = self.of(&name).unwrap_or(&Self::Any);
                    let node = shape.complete(within(given, &name), within(default, &name));
                    (name, node)
                };
                Node { value: Value::Table(names.into_iter().map(entry).collect()), place: place() }
            }
            Self::Structs(each) => match given.map(|node| &node.value) {
                Some(Value::List(list)) => {
                    let list = list.iter().map(|node| each.complete(Some(node), None));
                    Node { value: Value::List(list.collect()), place: place() }
                }
                _ => Node::new(Value::List(Vec::new())),
            },
            Self::Any => match (given, default) {
                (Some(Node { value: Value::Table(given), .. }), Some(default)) => {
                    let mut table = default.as_table().cloned().unwrap_or_default();
                    table.extend(given.iter().map(|(name, node)| (name.clone(), node.clone())));
                    Node { value: Value::Table(table), place: place() }
                }
                (Some(given), _) => given.clone(),
                (None, Some(default)) => default.clone(),
                (None, None) => Node::table(Table::new()),
            },
            _ => given.or(default).cloned().unwrap_or_else(|| self.zero()),
        }
    }

    fn zero(&self) -> Node {
        Node::new(match self {
            Self::Text => Value::Text(String::new()),
            Self::Wait => Value::Text("0s".to_owned()),
            Self::Whole => Value::Whole(0),
            Self::Real => Value::Real(0.0),
            Self::Flag => Value::Flag(false),
            Self::Texts | Self::Structs(_) => Value::List(Vec::new()),
            Self::Struct(_) | Self::Map(..) | Self::Any => Value::Table(Table::new()),
        })
    }
}

/// Writes the name of a key in a table as TOML has it.
pub(super) fn join(table: &str, key: &str) -> String {
    let key = super::print::key(key);
    if table.is_empty() { key } else { format!("{table}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_whole() {
        let parsed = tree::parse(TEXT, "schema.toml").unwrap();
        assert!(parsed.len() > 10);
        let schema = schema();
        let runtime = schema.shape.of("plugins").unwrap().of("io.containerd.cri.v1.runtime");
        let runtimes = runtime.unwrap().of("containerd").unwrap().of("runtimes").unwrap();
        assert!(matches!(runtimes.of("kata").unwrap().of("runtime_type"), Some(Shape::Text)));
        assert!(matches!(runtimes.of("runc").unwrap().of("options"), Some(Shape::Any)));
        assert!(!schema.defaults.contains_key("proxy_plugins"));
    }

    #[test]
    fn keys_and_durations_get_their_one_form() {
        let shape =
            schema().shape.of("plugins").unwrap().of("io.containerd.gc.v1.scheduler").unwrap();
        let node = |text: &str| Node::table(tree::parse(text, "f").unwrap());
        let mut unknown = Vec::new();
        let mut hear = |key: &str, node: &Node| unknown.push(format!("{} {key}", node.place));
        let text = "Schedule_Delay = 5\nstartup_delay = '90m'\nx = 1\npause_threshold = 1";
        let table = shape.conform(node(text), "t", &mut hear).unwrap();
        let table = table.as_table().unwrap();
        assert_eq!(table["schedule_delay"].as_text(), Some("5ns"));
        assert_eq!(table["startup_delay"].as_text(), Some("1h30m0s"));
        assert_eq!(table["pause_threshold"].value, Value::Real(1.0));
        assert_eq!(unknown, ["f:3 t.x"]);
        let wrong = shape.conform(node("\nschedule_delay = 'soon'"), "t", &mut |_, _| {});
        let said = wrong.unwrap_err().to_string();
        assert!(said.starts_with("f:2: t.schedule_delay must be a duration"), "{said}");
    }
}
