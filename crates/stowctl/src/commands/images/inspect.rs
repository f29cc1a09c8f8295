//! `images inspect`: the tree of what an image is made of.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use stowd_client::Client;
use stowd_core::content::{Info, Store as _};
use stowd_core::descriptor::media_type;
use stowd_core::{Descriptor, Error, Labels, Result};

use crate::context::Context;
use crate::failure::Outcome;
use crate::printer::Format;
use crate::times;

/// How deep indexes may lie in each other.
const DEPTH: usize = 8;

/// Arguments of `images inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Show labels and JSON of what is there, too
    #[arg(long)]
    content: bool,
    /// The image's name
    #[arg(value_name = "REF")]
    name: String,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    created: String,
    updated: String,
    labels: Labels,
    target: Node,
}

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    /// The tree.
    Tree,
    /// Labels and JSON as well.
    Content,
}

/// A blob of the image with those that it refers to.
#[derive(Debug, Serialize)]
struct Node {
    #[serde(flatten)]
    descriptor: Descriptor,
    /// Not known of layers, which are not looked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    present: Option<bool>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    children: Vec<Node>,
}

/// What an index or a manifest refers to.
#[derive(Default, Deserialize)]
#[serde(default)]
struct References {
    manifests: Option<Vec<Descriptor>>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
}

impl Inspect {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        let client = at.client().await?;
        let image = match client.image(&self.name).await {
            Ok(image) => image,
            Err(error) => return Err(super::absent(&client, &self.name, error).await.into()),
        };
        let record = image.record();
        let detail = if self.content { Detail::Content } else { Detail::Tree };
        let target = read(&client, record.target.clone(), detail, DEPTH).await?;
        let shown = Shown {
            name: record.name.clone(),
            created: times::go(record.created),
            updated: times::go(record.updated),
            labels: record.labels.clone(),
            target,
        };
        match at.printer.format() {
            Format::Json => at.printer.json(&shown)?,
            Format::Text => at.printer.bytes(shown.text()?.as_bytes())?,
        }
        Ok(())
    }
}

async fn read(
    client: &Client,
    descriptor: Descriptor,
    detail: Detail,
    depth: usize,
) -> Result<Node> {
    let mut node = Node {
        descriptor,
        present: None,
        labels: Labels::new(),
        content: None,
        children: Vec::new(),
    };
    let info =
        match client.connection().content().info(client.scope(), &node.descriptor.digest).await {
            Ok(info) => info,
            Err(error) if error.is_not_found() => {
                node.present = Some(false);
                return Ok(node);
            }
            Err(error) => return Err(error),
        };
    node.present = Some(true);
    let kind = node.descriptor.media_type.as_str();
    let (manifest, index) = (media_type::is_manifest(kind), media_type::is_index(kind));
    let data = match manifest || index || (detail == Detail::Content && kind.ends_with("json")) {
        true => client.read_blob(&node.descriptor.digest).await?,
        false => Vec::new(),
    };
    if detail == Detail::Content {
        node.show(info, &data)?;
    }
    let found = match manifest || index {
        true => parse::<References>(&node.descriptor, &data)?,
        false => References::default(),
    };
    if index && depth > 0 {
        for child in found.manifests.unwrap_or_default() {
            node.children.push(Box::pin(read(client, child, detail, depth - 1)).await?);
        }
    } else if manifest {
        if let Some(config) = found.config {
            node.children.push(match detail {
                Detail::Content => Box::pin(read(client, config, detail, 0)).await?,
                Detail::Tree => Node::plain(config),
            });
        }
        node.children.extend(found.layers.unwrap_or_default().into_iter().map(Node::plain));
    }
    Ok(node)
}

fn parse<T: for<'de> Deserialize<'de>>(descriptor: &Descriptor, data: &[u8]) -> Result<T> {
    serde_json::from_slice(data)
        .map_err(|error| Error::invalid(format_args!("{}: {error}", descriptor.digest)))
}

impl Node {
    fn plain(descriptor: Descriptor) -> Self {
        let (labels, children) = (Labels::new(), Vec::new());
        Self { descriptor, present: None, labels, content: None, children }
    }

    fn show(&mut self, info: Info, data: &[u8]) -> Result<()> {
        self.labels = info.labels;
        if !data.is_empty() && self.descriptor.media_type.ends_with("json") {
            self.content = Some(parse(&self.descriptor, data)?);
        }
        Ok(())
    }
}

impl Shown {
    fn text(&self) -> Result<String> {
        let mut out = format!("{}\n", self.name);
        out.push_str(&format!("│    Created: {}\n", self.created));
        out.push_str(&format!("│    Updated: {}\n", self.updated));
        for (key, value) in &self.labels {
            out.push_str(&format!("│    Label {key:?}: {value:?}\n"));
        }
        self.target.draw(&mut out, "└── ", "    ")?;
        Ok(out)
    }
}

impl Node {
    /// Draws the blob behind `lead` and what is below it behind `indent`.
    fn draw(&self, out: &mut String, lead: &str, indent: &str) -> Result<()> {
        let Descriptor { media_type, digest, size, platform, .. } = &self.descriptor;
        out.push_str(&format!("{lead}{media_type} @{digest} ({size} bytes)\n"));
        let leaf = self.children.is_empty();
        let beside = format!("{indent}{}", if leaf { "    " } else { "│   " });
        let inner = media_type::is_manifest(media_type) || media_type::is_index(media_type);
        if let Some(platform) = platform.as_ref().filter(|it| !it.architecture.is_empty()) {
            let beside = format!("{indent}│   ");
            out.push_str(&format!(
                "{beside} Platform: {}/{}\n",
                platform.os, platform.architecture
            ));
        }
        if inner && self.present == Some(false) {
            out.push_str(&format!("{indent}└──  Content does not exist locally, skipping\n"));
            return Ok(());
        }
        self.draw_content(out, if inner { &beside } else { indent })?;
        for (at, child) in self.children.iter().enumerate() {
            let last = at + 1 == self.children.len();
            let (drop, below) =
                if last { ("└── ", "    ") } else { ("├── ", "│   ") };
            child.draw(out, &format!("{indent}{drop}"), &format!("{indent}{below}"))?;
        }
        Ok(())
    }

    fn draw_content(&self, out: &mut String, beside: &str) -> Result<()> {
        const END: &str = "└───────────────────────";
        if !self.labels.is_empty() {
            out.push_str(&format!("{beside}┌────────Labels─────────\n"));
            for (key, value) in &self.labels {
                out.push_str(&format!("{beside}│{key:?}: {value:?}\n"));
            }
            out.push_str(&format!("{beside}{END}\n"));
        }
        if let Some(content) = &self.content {
            let text = indented(content)?;
            out.push_str(&format!("{beside}┌────────Content────────\n"));
            for line in text.lines() {
                out.push_str(&format!("{beside}│{line}\n"));
            }
            out.push_str(&format!("{beside}{END}\n"));
        }
        Ok(())
    }
}

/// JSON indented by three spaces.
fn indented(content: &Value) -> Result<String> {
    let mut out = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"   ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, format);
    content
        .serialize(&mut serializer)
        .map_err(|error| Error::internal(format_args!("encode JSON: {error}")))?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}
