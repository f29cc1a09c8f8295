//! The command line: containerd's, with `serve` added.

use std::path::PathBuf;

/// What a shim is started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// What to do.
    pub action: Action,
    /// The namespace of the container.
    pub namespace: String,
    /// The daemon's gRPC socket.
    pub address: String,
    /// The container.
    pub id: String,
    /// Its bundle; the working directory, if it is not given.
    pub bundle: Option<PathBuf>,
    /// Whether more is to be logged.
    pub debug: bool,
}

/// What a shim is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Print the version.
    Version,
    /// Print what the runtime can do.
    Info,
    /// Start a shim in the background, or find the one of the group.
    Start,
    /// Clear away what a dead shim left.
    Delete,
    /// Serve on the socket that is descriptor 3.
    Serve,
}

impl Arguments {
    /// Reads arguments as Go's flag package does: `-name value`, `-name=value`, the same with two
    /// dashes, up to the first that is no flag.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut parsed = Arguments {
            action: Action::Serve,
            namespace: String::new(),
            address: String::new(),
            id: String::new(),
            bundle: None,
            debug: false,
        };
        let mut action = None;
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            let Some(flag) = argument.strip_prefix('-') else {
                action = match &*argument {
                    "start" => Some(Action::Start),
                    "delete" => Some(Action::Delete),
                    "serve" => Some(Action::Serve),
                    other => return Err(format!("unknown action {other:?}")),
                };
                break;
            };
            let flag = flag.strip_prefix('-').unwrap_or(flag);
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (flag, None),
            };
            let on = value.as_deref().is_none_or(|value| !matches!(value, "false" | "0" | "f"));
            match name {
                "v" | "version" if on => {
                    return Ok(Arguments { action: Action::Version, ..parsed });
                }
                "info" if on => return Ok(Arguments { action: Action::Info, ..parsed }),
                "debug" => {
                    parsed.debug = on;
                    continue;
                }
                "v" | "version" | "info" => continue,
                _ => {}
            }
            let value = match value {
                Some(value) => value,
                None => {
                    arguments.next().ok_or_else(|| format!("flag needs an argument: -{name}"))?
                }
            };
            match name {
                "namespace" => parsed.namespace = value,
                "address" => parsed.address = value,
                "id" => parsed.id = value,
                "bundle" => {
                    parsed.bundle = Some(value.into()).filter(|path| *path != PathBuf::new())
                }
                // Who publishes events, and where to listen: ours to know.
                "publish-binary" | "socket" => {}
                _ => return Err(format!("flag provided but not defined: -{name}")),
            }
        }
        parsed.action = action.ok_or("no action: start, delete or serve")?;
        if parsed.namespace.is_empty() {
            return Err("shim namespace cannot be empty".to_owned());
        }
        if parsed.id.is_empty() {
            return Err("shim id cannot be empty".to_owned());
        }
        Ok(parsed)
    }

    /// Returns the bundle's folder.
    pub(crate) fn bundle(&self) -> Result<PathBuf, String> {
        match &self.bundle {
            Some(bundle) => Ok(bundle.clone()),
            None => std::env::current_dir()
                .map_err(|error| format!("find the working directory: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn takes_containerds_command_lines() {
        let line = "-namespace default -address /run/c.sock -publish-binary /bin/c -id web start";
        let arguments = parse(line).unwrap();
        assert_eq!(arguments.action, Action::Start);
        assert_eq!((&*arguments.namespace, &*arguments.id), ("default", "web"));
        assert_eq!(arguments.bundle, None);
        let arguments = parse("--namespace=n --id=a -debug -bundle /b delete").unwrap();
        assert_eq!((arguments.action, arguments.debug), (Action::Delete, true));
        assert_eq!(arguments.bundle, Some("/b".into()));
        assert_eq!(parse("-v").unwrap().action, Action::Version);
        assert_eq!(parse("-info").unwrap().action, Action::Info);
    }

    #[test]
    fn refuses_what_makes_no_sense() {
        for line in ["", "start", "-namespace n start", "-namespace n -id a", "-id", "-x y start"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
