//! Which hosts serve a registry's repositories: `hosts.toml` and Docker's certificate folders
//! (containerd `docs/hosts.md`).
//!
//! Below a configured folder each registry has one of its own: `<host>`, or `<host>_<port>_`, else
//! `_default`. In it `hosts.toml` names the hosts to ask, in order, and last the registry's own
//! server. Without that file, certificates named as Docker does apply to the registry itself.
//!
//! A `hosts.toml` that cannot be read as such is reported and passed over, as in containerd: a
//! node that came up with it there must come up here.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use stowd_core::{Error, Result};
use toml::{Table, Value};

use crate::duration;
use crate::endpoint::{
    Capabilities, DOCKER_REGISTRY, Endpoint, Scheme, Tls, is_loopback, split_port,
};

/// What a request says about the registry's own host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// It is to be spoken to in plain HTTP.
    pub plain_http: bool,
    /// Nobody's certificate is to be checked.
    pub skip_verify: bool,
}

/// Finds the hosts for a registry. `config_path` is a list of folders, joined by `:`.
///
/// # Errors
/// `InvalidArgument` when a folder's files cannot be read.
pub(crate) fn find(config_path: &str, registry: &str, asked: Asked) -> Result<Vec<Endpoint>> {
    let folder = config_path
        .split(':')
        .filter(|root| !root.is_empty())
        .flat_map(|root| folders(Path::new(root), registry))
        .find(|folder| folder.exists());
    let mut hosts = match folder {
        Some(folder) => load(&folder)?,
        None => vec![Draft::default()],
    };
    if let Some(last) = hosts.last_mut()
        && last.authority.is_empty()
    {
        last.become_default(registry, asked);
    }
    Ok(hosts.into_iter().map(|draft| draft.finish(asked)).collect())
}

/// Makes an endpoint for a place that is not a registry and is told nothing about us.
pub(crate) fn stranger(url: &url::Url) -> Endpoint {
    let host = url.host_str().unwrap_or_default();
    Endpoint {
        scheme: if url.scheme() == "http" { Scheme::Http } else { Scheme::Https },
        authority: match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        },
        path: url.path().to_owned(),
        capabilities: Capabilities::PULL,
        headers: Vec::new(),
        tls: Tls::default(),
        dial_timeout: None,
        plain: AtomicBool::new(false),
    }
}

/// A host as a file describes it.
#[derive(Clone, Debug)]
struct Draft {
    scheme: String,
    authority: String,
    path: String,
    capabilities: Capabilities,
    headers: Vec<(String, String)>,
    tls: Tls,
    dial_timeout: Option<std::time::Duration>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            scheme: String::new(),
            authority: String::new(),
            path: String::new(),
            capabilities: Capabilities::NONE,
            headers: Vec::new(),
            tls: Tls::default(),
            dial_timeout: None,
        }
    }
}

impl Draft {
    /// Fills in the registry's own host.
    fn become_default(&mut self, registry: &str, asked: Asked) {
        "/v2".clone_into(&mut self.path);
        self.capabilities = Capabilities::ALL;
        let mut scheme = if asked.plain_http { "http" } else { "https" };
        if registry == "docker.io" {
            DOCKER_REGISTRY.clone_into(&mut self.authority);
            scheme = "https";
        } else {
            registry.clone_into(&mut self.authority);
            if is_loopback(registry) && !asked.plain_http {
                // A server on this machine mostly has no certificate, and none that says
                // "localhost": TLS is tried without checking it, then plain HTTP.
                let port = split_port(registry).1;
                if !matches!(port, None | Some("443")) {
                    scheme = "http";
                }
                if port != Some("80") {
                    self.tls.skip_verify.get_or_insert(true);
                }
            }
        }
        scheme.clone_into(&mut self.scheme);
    }

    fn finish(mut self, asked: Asked) -> Endpoint {
        let explicit = asked.skip_verify || self.tls.is_explicit();
        if asked.skip_verify {
            self.tls.skip_verify = Some(true);
        }
        let scheme = match self.scheme.as_str() {
            "http" if explicit && split_port(&self.authority).1 != Some("80") => {
                Scheme::HttpsThenHttp
            }
            "http" => Scheme::Http,
            _ => Scheme::Https,
        };
        Endpoint {
            scheme,
            authority: self.authority,
            path: self.path,
            capabilities: self.capabilities,
            headers: self.headers,
            tls: self.tls,
            dial_timeout: self.dial_timeout,
            plain: AtomicBool::new(false),
        }
    }
}

fn folders(root: &Path, registry: &str) -> Vec<PathBuf> {
    let mut names = Vec::new();
    if let (host, Some(port)) = split_port(registry) {
        names.push(format!("{host}_{port}_"));
    }
    names.extend([registry.to_owned(), "_default".to_owned()]);
    names.into_iter().map(|name| root.join(name)).collect()
}

fn load(folder: &Path) -> Result<Vec<Draft>> {
    let file = folder.join("hosts.toml");
    match std::fs::read_to_string(&file) {
        Ok(text) if !text.is_empty() => match parse(&text, folder) {
            Ok(hosts) => return Ok(hosts),
            Err(reason) => {
                tracing::error!(file = %file.display(), reason, "hosts.toml is not understood and has no effect");
            }
        },
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unreadable(&file, &error)),
    }
    certificates(folder).map(|draft| vec![draft])
}

/// Reads certificates in Docker's layout: `*.crt` are authorities, `*.cert` with `*.key` are ours.
fn certificates(folder: &Path) -> Result<Draft> {
    let mut draft = Draft::default();
    let entries = std::fs::read_dir(folder).map_err(|error| unreadable(folder, &error))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    for path in files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => draft.tls.authorities.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                let key = key.exists().then_some(key);
                draft.tls.identities.push((path, key));
            }
            _ => {}
        }
    }
    Ok(draft)
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format_args!("read registry configuration {}: {error}", path.display()))
}

fn parse(text: &str, folder: &Path) -> Result<Vec<Draft>, String> {
    let root: Table = text.parse().map_err(|error| format!("{error}"))?;
    let mut hosts = Vec::new();
    if let Some(tables) = root.get("host") {
        let tables = tables.as_table().ok_or("\"host\" must be a table")?;
        for (server, table) in tables {
            let table =
                table.as_table().ok_or_else(|| format!("host {server:?} must be a table"))?;
            hosts.push(draft(server, table, folder)?);
        }
    }
    let server = match root.get("server") {
        Some(server) => server.as_str().ok_or("\"server\" must be a string")?,
        None => "",
    };
    hosts.push(draft(server, &root, folder)?);
    Ok(hosts)
}

fn draft(server: &str, table: &Table, folder: &Path) -> Result<Draft, String> {
    let mut draft = Draft::default();
    let override_path = match table.get("override_path") {
        Some(value) => value.as_bool().ok_or("\"override_path\" must be true or false")?,
        None => false,
    };
    if !server.is_empty() {
        let full = if server.starts_with("http") {
            server.to_owned()
        } else {
            format!("https://{server}")
        };
        let url = url::Url::parse(&full).map_err(|error| format!("server {server:?}: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("server {server:?} must begin with http:// or https://"));
        }
        url.scheme().clone_into(&mut draft.scheme);
        // The parser drops a port that is the scheme's own; the configured text decides about it.
        let authority = full.split("://").nth(1).unwrap_or_default();
        let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rsplit('@').next().unwrap_or_default().clone_into(&mut draft.authority);
        let path = url.path().trim_end_matches('/');
        draft.path = if override_path || path.ends_with("/v2") {
            path.to_owned()
        } else {
            format!("{path}/v2")
        };
    }
    draft.capabilities = capabilities(table)?;
    draft.tls.skip_verify = match table.get("skip_verify") {
        Some(value) => Some(value.as_bool().ok_or("\"skip_verify\" must be true or false")?),
        None => None,
    };
    draft.tls.authorities = match table.get("ca") {
        Some(value) => strings(value, "ca")?.iter().map(|path| folder.join(path)).collect(),
        None => Vec::new(),
    };
    draft.tls.identities = identities(table, folder)?;
    if let Some(headers) = table.get("header") {
        for (name, value) in headers.as_table().ok_or("\"header\" must be a table")? {
            draft.headers.extend(strings(value, name)?.into_iter().map(|v| (name.clone(), v)));
        }
    }
    if let Some(timeout) = table.get("dial_timeout") {
        let text = timeout.as_str().ok_or("\"dial_timeout\" must be a string such as \"10s\"")?;
        draft.dial_timeout =
            match text {
                "" => None,
                text => Some(duration::parse(text).ok_or_else(|| {
                    format!("dial_timeout {text:?} is not a duration such as 10s")
                })?),
            };
    }
    Ok(draft)
}

fn capabilities(table: &Table) -> Result<Capabilities, String> {
    let Some(value) = table.get("capabilities") else { return Ok(Capabilities::ALL) };
    let words = strings(value, "capabilities")?;
    if words.is_empty() {
        return Ok(Capabilities::ALL);
    }
    words.iter().try_fold(Capabilities::NONE, |all, word| {
        Ok(all.with(match word.to_ascii_lowercase().as_str() {
            "pull" => Capabilities::PULL,
            "resolve" => Capabilities::RESOLVE,
            "push" => Capabilities::PUSH,
            "referrers" => Capabilities::REFERRERS,
            _ => return Err(format!("unknown capability {word:?}")),
        }))
    })
}

fn identities(table: &Table, folder: &Path) -> Result<Vec<(PathBuf, Option<PathBuf>)>, String> {
    let one = |path: &str| (folder.join(path), None);
    match table.get("client") {
        None => Ok(Vec::new()),
        Some(Value::String(path)) => Ok(vec![one(path)]),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| match item {
                Value::String(path) => Ok(one(path)),
                pair => match strings(pair, "client")?.as_slice() {
                    [certificate, key] => Ok((folder.join(certificate), Some(folder.join(key)))),
                    _ => Err("\"client\" takes files, or pairs of certificate and key".to_owned()),
                },
            })
            .collect(),
        Some(_) => Err("\"client\" takes files, or pairs of certificate and key".to_owned()),
    }
}

fn strings(value: &Value, name: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{name:?} must be a string or a list of strings");
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests;
