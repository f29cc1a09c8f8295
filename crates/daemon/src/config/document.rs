//! A configuration file with all that it imports, as one document.
//!
//! Each file is brought to one version and merged into those before it, as containerd does it: at
//! the top, an empty value changes nothing and lists are joined; `proxy_plugins`,
//! `stream_processors` and `timeouts` are replaced name by name; below `plugins`, tables are merged
//! and everything else is replaced. Keys that containerd does not have are named in notes and
//! change nothing.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Component, Path, PathBuf};

use stowd_core::{Error, Result};

use super::schema::{join, schema};
use super::tree::{self, Node, Table, Value, table_in};
use super::{Config, glob, migrate, print};

/// A configuration, as asked.
#[derive(Clone, Debug)]
pub struct Document {
    /// Without defaults below `plugins`; of `version`.
    pub(super) table: Table,
    version: i64,
    notes: Vec<String>,
    files: Vec<PathBuf>,
}

impl Default for Document {
    /// The defaults: what containerd means by no file at all.
    fn default() -> Self {
        let mut table = schema().defaults.clone();
        table.remove("plugins");
        Self { table, version: 3, notes: Vec::new(), files: Vec::new() }
    }
}

impl Document {
    /// Reads a file and what it imports.
    ///
    /// # Errors
    /// `NotFound` when there is no such file; `InvalidArgument` with file, line and key when one is not
    /// TOML, has a value of a wrong type, imports a file that is not there, or has a version that
    /// is not known.
    pub fn load(path: &Path) -> Result<Self> {
        let mut seen = BTreeSet::new();
        let mut pending = VecDeque::from([(path.to_owned(), None)]);
        let mut read = Vec::new();
        while let Some((path, importer)) = pending.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let text =
                std::fs::read_to_string(&path).map_err(|error| unread(&path, &error, importer))?;
            let table = tree::parse(&text, &path.display().to_string())?;
            pending.extend(imports(&path, &table)?);
            read.push((path, table));
        }
        Self::merged(read)
    }

    /// Takes a file's text, without what it imports.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str) -> Result<Self> {
        Self::merged(vec![("config.toml".into(), tree::parse(text, "config.toml")?)])
    }

    fn merged(read: Vec<(PathBuf, Table)>) -> Result<Self> {
        let mut document = Self::default();
        let files: Vec<(PathBuf, i64, Table)> = read
            .into_iter()
            .map(|(path, table)| Ok((path.clone(), version(&path, &table)?, table)))
            .collect::<Result<_>>()?;
        let newest = files.iter().map(|(_, version, _)| *version).max().unwrap_or(3).max(3);
        document.raise(newest);
        let notes = &mut document.notes;
        for (path, version, mut table) in files {
            if version < 2 {
                notes.push(format!(
                    "{}: read as version 1, whose short names of plugins are gone since version 2: \
                     write `version = 3` and full names; `stowd config migrate` shows them",
                    path.display()
                ));
            }
            table.remove("version");
            if version == 4 {
                for section in ["grpc", "ttrpc", "metrics"] {
                    if let Some(node) = table.remove(section).filter(|node| !node.is_zero()) {
                        notes.push(format!(
                            "{}: version 4 has no table {section}: it has no effect; write \
                             plugins.'io.containerd.server.v1.{section}'",
                            node.place
                        ));
                    }
                }
            }
            let mut unknown = |key: &str, node: &Node| {
                notes.push(format!("{}: there is no key {key}: it has no effect", node.place));
            };
            // Keys are checked in the last form that still has them all.
            for version in version..newest {
                if version == 3 {
                    table = conformed(table, &mut unknown)?;
                }
                migrate::step(&mut table, version);
            }
            merge_top(&mut document.table, conformed(table, &mut unknown)?);
            document.files.push(path);
        }
        document.check()?;
        Ok(document)
    }

    /// Brings the document to a version.
    fn raise(&mut self, version: i64) {
        for from in self.version..version {
            migrate::step(&mut self.table, from);
        }
        if self.version == 3 && version == 4 && self.files.is_empty() {
            // In version 4, the shims' socket is where it is by default unless a file or flag says.
            table_in(&mut self.table, "plugins").remove("io.containerd.server.v1.ttrpc");
        }
        self.version = self.version.max(version);
    }

    fn check(&self) -> Result<()> {
        for list in ["disabled_plugins", "required_plugins"] {
            let Some(Value::List(uris)) = self.table.get(list).map(|node| &node.value) else {
                continue;
            };
            for node in uris {
                if !node.as_text().is_some_and(|uri| uri.contains('.')) {
                    let error =
                        node.wrong(list, "a list of full names such as io.containerd.grpc.v1.cri");
                    return Err(error.hint("`ctr plugins ls` shows type and id; a dot joins them"));
                }
            }
        }
        Ok(())
    }

    /// Puts what flags say in place of what the file says.
    pub fn override_folders(
        &mut self,
        root: Option<&Path>,
        state: Option<&Path>,
        address: Option<&Path>,
    ) {
        let text = |path: &Path| Node::text(path.to_string_lossy());
        if let Some(root) = root {
            self.table.insert("root".to_owned(), text(root));
        }
        if let Some(state) = state {
            self.table.insert("state".to_owned(), text(state));
        }
        let Some(address) = address else { return };
        if self.version < 4 {
            table_in(&mut self.table, "grpc").insert("address".to_owned(), text(address));
            return;
        }
        let plugins = table_in(&mut self.table, "plugins");
        let grpc = table_in(plugins, "io.containerd.server.v1.grpc");
        grpc.insert("address".to_owned(), text(address));
        let mut ttrpc = grpc.clone();
        ttrpc.retain(|key, _| key == "uid" || key == "gid");
        let derived = Node::text(format!("{}.ttrpc", address.display()));
        ttrpc.insert("address".to_owned(), derived);
        plugins.entry("io.containerd.server.v1.ttrpc".to_owned()).or_insert(Node::table(ttrpc));
    }

    /// Returns what is in the files and has no effect, a sentence for each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns the files that were read, in order.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Returns the version in which the document prints by itself: 3, or 4 where a file has that.
    pub fn version(&self) -> u32 {
        if self.version < 4 { 3 } else { 4 }
    }

    /// Returns the whole configuration with all defaults, in the form that containerd 2.1 prints
    /// (version 3) or containerd 2.4 (version 4).
    ///
    /// # Errors
    /// `InvalidArgument` for another version, or an older one than a file has.
    pub fn print(&self, version: u32) -> Result<String> {
        let version = i64::from(version);
        if !(3..=migrate::NEWEST).contains(&version) || version < self.version {
            return Err(Error::invalid(format_args!("cannot print version {version}"))
                .hint(format_args!("from {} to {}", self.version(), migrate::NEWEST)));
        }
        let schema = schema();
        let mut document = self.clone();
        let mut table = if version == 4 { document.servers() } else { document.table };
        for plugin in table_in(&mut table, "proxy_plugins").values_mut() {
            if let Value::Table(plugin) = &mut plugin.value {
                // containerd adds this where it has a table to add it to.
                let address = plugin.get("address").cloned().unwrap_or_else(|| Node::text(""));
                if plugin.contains_key("exports") {
                    table_in(plugin, "exports").insert("address".to_owned(), address);
                }
            }
        }
        if !self.table.contains_key("proxy_plugins") {
            table.remove("proxy_plugins");
        }
        let defaults = Node::table(schema.defaults.clone());
        let full = schema.shape.complete(Some(&Node::table(table.clone())), Some(&defaults));
        let Value::Table(mut full) = full.value else { return Ok(String::new()) };
        // Of plugins that are disabled, only what files say is shown.
        let disabled = full.get("disabled_plugins").and_then(Node::as_texts).unwrap_or_default();
        let disabled: Vec<String> = disabled.into_iter().map(str::to_owned).collect();
        for uri in disabled {
            let given = table_in(&mut table, "plugins").remove(&uri);
            let plugins = table_in(&mut full, "plugins");
            plugins.remove(&uri);
            plugins.extend(given.map(|given| (uri, given)));
        }
        full.insert("version".to_owned(), Node::new(Value::Whole(version)));
        if version == 4 {
            for section in ["grpc", "ttrpc", "metrics"] {
                full.remove(section);
            }
            if let Some(Node { value: Value::Table(debug), .. }) = full.get_mut("debug") {
                debug.retain(|key, _| !matches!(key.as_str(), "address" | "uid" | "gid"));
            }
        }
        Ok(print::print(&full, &schema.shape))
    }

    /// Returns the document in version 4, each server plugin named.
    pub(super) fn servers(&mut self) -> Table {
        self.raise(4);
        let plugins = table_in(&mut self.table, "plugins");
        for id in ["debug", "grpc", "grpc-tcp", "metrics", "ttrpc"] {
            let name = format!("io.containerd.server.v1.{id}");
            let shape = schema().shape.of("plugins").and_then(|shape| shape.of(&name));
            if let Some(shape) = shape {
                let full = shape.complete(plugins.get(&name), schema().optional.get(&name));
                plugins.insert(name, full);
            }
        }
        self.table.clone()
    }

    /// Names the keys in which two documents differ in version 4, defaults filled in.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let mut found = Vec::new();
        differences(&self.filled(), &other.filled(), "", &mut found);
        found
    }

    /// Returns this document in version 4, with the values of these keys from another.
    #[must_use]
    pub fn with_live_of(&self, other: &Self, keys: &[String]) -> Self {
        let (mut table, other) = (self.filled(), other.filled());
        take(&mut table, &other, "", keys);
        Self { table, version: 4, notes: self.notes.clone(), files: self.files.clone() }
    }

    fn filled(&self) -> Table {
        let defaults = Node::table(schema().defaults.clone());
        let table = Node::table(self.clone().servers());
        match schema().shape.complete(Some(&table), Some(&defaults)).value {
            Value::Table(mut table) => {
                for section in ["grpc", "ttrpc", "metrics", "version"] {
                    table.remove(section);
                }
                table
            }
            _ => Table::new(),
        }
    }

    /// Returns the configuration that the document means, and what in it has no effect here.
    ///
    /// # Errors
    /// `InvalidArgument` with file, line and key for a value that cannot be.
    pub fn resolve(&self) -> Result<(Config, Vec<String>)> {
        let (config, ignored) = super::resolve::resolve(&self.clone().servers())?;
        Ok((config, self.notes.iter().cloned().chain(ignored).collect()))
    }
}

fn unread(path: &Path, error: &std::io::Error, importer: Option<tree::Place>) -> Error {
    match (importer, error.kind()) {
        (None, std::io::ErrorKind::NotFound) => {
            Error::not_found(format_args!("configuration file {}", path.display()))
                .hint("`stowd config default` shows one; without --config, none is needed")
        }
        (None, _) => Error::io(format_args!("read configuration file {}", path.display()), error),
        (Some(place), _) => {
            Error::invalid(format_args!("{place}: imports {}: {error}", path.display()))
                .hint("take it out of imports; a pattern such as conf.d/*.toml may match nothing")
        }
    }
}

/// Returns the files that a file imports, each with the place where it says so.
fn imports(file: &Path, table: &Table) -> Result<Vec<(PathBuf, Option<tree::Place>)>> {
    let Some(node) = table.get("imports") else { return Ok(Vec::new()) };
    let Value::List(list) = &node.value else {
        return Err(node.wrong("imports", "a list of strings"));
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for node in list {
        let Some(text) = node.as_text() else {
            return Err(node.wrong("imports", "a list of strings"));
        };
        let path = cleaned(&folder.join(text));
        if text.contains('*') {
            let matches = glob::find(&path)
                .ok_or_else(|| node.wrong("imports", "files or patterns such as conf.d/*.toml"))?;
            found.extend(matches.into_iter().map(|path| (path, Some(node.place.clone()))));
        } else {
            found.push((path, Some(node.place.clone())));
        }
    }
    Ok(found)
}

/// Takes `.` and `..` out of a path by its words alone, as Go does.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match (part, clean.components().next_back()) {
            (Component::CurDir, _) | (Component::ParentDir, Some(Component::RootDir)) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                clean.pop();
            }
            (part, _) => clean.push(part),
        }
    }
    clean
}

/// Returns a file's version; 0 where it says none.
fn version(path: &Path, table: &Table) -> Result<i64> {
    let Some(node) = table.get("version") else { return Ok(0) };
    match node.as_whole() {
        Some(version @ 0..=migrate::NEWEST) => Ok(version),
        Some(version) => Err(Error::invalid(format_args!(
            "{}: failed to load TOML from {}: expected containerd config version equal to or less than `{}`, got `{version}`",
            node.place,
            path.display(),
            migrate::NEWEST,
        ))
        .hint("stowd reads the versions 1 to 4")),
        None => Err(node.wrong("version", "a whole number")),
    }
}

fn conformed(table: Table, unknown: &mut dyn FnMut(&str, &Node)) -> Result<Table> {
    match schema().shape.conform(Node::table(table), "", unknown)?.value {
        Value::Table(table) => Ok(table),
        _ => Ok(Table::new()),
    }
}

/// Merges a file's top level.
fn merge_top(to: &mut Table, from: Table) {
    for (name, node) in from {
        match (name.as_str(), node.value) {
            ("plugins", Value::Table(plugins)) => merge_deep(table_in(to, "plugins"), plugins),
            ("proxy_plugins" | "stream_processors" | "timeouts", Value::Table(entries)) => {
                table_in(to, &name).extend(entries);
            }
            (_, Value::Table(section)) => merge_top(table_in(to, &name), section),
            (_, Value::List(list)) => {
                let node = to.entry(name).or_insert_with(|| Node::new(Value::List(Vec::new())));
                if let Value::List(held) = &mut node.value {
                    for each in list {
                        if !held.contains(&each) {
                            held.push(each);
                        }
                    }
                }
            }
            (_, value) => {
                let node = Node { value, place: node.place };
                if !node.is_zero() {
                    to.insert(name, node);
                }
            }
        }
    }
}

/// Merges plugins' tables: a value replaces a value, even by nothing.
fn merge_deep(to: &mut Table, from: Table) {
    for (name, node) in from {
        match (to.get_mut(&name).map(|held| &mut held.value), node.value) {
            (Some(Value::Table(held)), Value::Table(table)) => merge_deep(held, table),
            (_, value) => {
                to.insert(name, Node { value, place: node.place });
            }
        }
    }
}

/// Names the keys in which two documents differ, of whatever depth.
fn differences(old: &Table, new: &Table, key: &str, found: &mut Vec<String>) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let key = join(key, name);
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => {}
            (
                Some(Node { value: Value::Table(old), .. }),
                Some(Node { value: Value::Table(new), .. }),
            ) => {
                differences(old, new, &key, found);
            }
            _ => found.push(key),
        }
    }
}

/// Takes the values of some keys from another table.
fn take(to: &mut Table, from: &Table, key: &str, keys: &[String]) {
    let names: BTreeSet<String> = to.keys().chain(from.keys()).cloned().collect();
    for name in names {
        let key = join(key, &name);
        if keys.contains(&key) {
            match from.get(&name) {
                Some(node) => to.insert(name, node.clone()),
                None => to.remove(&name),
            };
        } else if let (Some(Node { value: Value::Table(to), .. }), Some(from)) =
            (to.get_mut(&name), from.get(&name).and_then(Node::as_table))
        {
            take(to, from, &key, keys);
        }
    }
}

#[cfg(test)]
mod tests;
