//! `snapshots tree`.

use std::collections::HashMap;

use serde::Serialize;
use stowd_core::snapshots::Info;

use super::{Snapshotter, parent};
use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;

/// Arguments of `snapshots tree`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tree {}

/// A snapshot with those that build on it.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Node {
    key: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

impl Tree {
    pub(super) async fn run(self, at: &Context, it: &Snapshotter) -> Outcome {
        let roots = grow(&it.all().await?);
        if at.printer.format() == Format::Json {
            return Ok(at.printer.json(&roots)?);
        }
        let mut text = String::new();
        for root in &roots {
            root.draw(0, &mut text);
        }
        Ok(at.printer.bytes(text.as_bytes())?)
    }
}

/// Puts snapshots below their parents, in the order in which they are listed.
fn grow(all: &[Info]) -> Vec<Node> {
    let mut below: HashMap<&str, Vec<&str>> = HashMap::new();
    let mut roots = Vec::new();
    for info in all {
        match parent(info) {
            Some(parent) => below.entry(parent).or_default().push(&info.name),
            None => roots.push(info.name.as_str()),
        }
    }
    // Chains are as long as images have layers: no deeper than calls can go.
    fn node(key: &str, below: &HashMap<&str, Vec<&str>>) -> Node {
        let children = below.get(key).into_iter().flatten().map(|key| node(key, below)).collect();
        Node { key: key.to_owned(), children }
    }
    roots.into_iter().map(|root| node(root, &below)).collect()
}

impl Node {
    fn draw(&self, level: usize, out: &mut String) {
        out.push_str(&"  ".repeat(level));
        if level > 0 {
            out.push_str("\\_");
        }
        out.push_str(&format!(" {}\n", self.key));
        for child in &self.children {
            child.draw(level + 1, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use stowd_core::Labels;
    use stowd_core::snapshots::Kind;

    use super::*;

    #[test]
    fn children_stand_below_their_parents() {
        let info = |name: &str, parent: Option<&str>| Info {
            kind: Kind::Committed,
            name: name.to_owned(),
            parent: parent.map(str::to_owned),
            labels: Labels::new(),
            created: UNIX_EPOCH,
            updated: UNIX_EPOCH,
        };
        let all =
            [info("a", Some("b")), info("b", Some("")), info("c", None), info("d", Some("b"))];
        let mut text = String::new();
        for root in grow(&all) {
            root.draw(0, &mut text);
        }
        assert_eq!(text, " b\n  \\_ a\n  \\_ d\n c\n");
    }
}
