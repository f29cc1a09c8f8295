//! The flags that say how to get at a registry, and what becomes of them.
//!
//! The daemon speaks with registries, so the flags travel to it: scheme, credentials and a folder of
//! host configuration have a place in its contract. Certificates do not; they are written into a
//! host configuration of this call's own, which the daemon reads while the call lasts.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use stowd_core::transfer::{Credentials, RegistryRef, Secret};
use stowd_core::{Error, ErrorKind, Result};

mod hosts;

use hosts::Hosts;

/// Under which the flags stand in a command's help.
const HEADING: &str = "Registry";

/// The variable that keeps a password out of the command line, which everybody can read.
pub(crate) const PASSWORD: &str = "STOWCTL_PASSWORD";

/// How to get at a registry.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct RegistryFlags {
    /// Do not check the registry's certificate
    #[arg(help_heading = HEADING, short = 'k', long)]
    pub(crate) skip_verify: bool,
    /// Speak plain HTTP with the registry
    #[arg(help_heading = HEADING, long)]
    pub(crate) plain_http: bool,
    /// User and password; without a password it is read from $STOWCTL_PASSWORD, or asked for
    #[arg(help_heading = HEADING, short, long, value_name = "USER[:PASSWORD]")]
    pub(crate) user: Option<String>,
    /// Refresh token for the authorization server
    #[arg(help_heading = HEADING, long, value_name = "TOKEN", conflicts_with = "user")]
    refresh: Option<String>,
    /// Folder with the configuration of hosts (hosts.toml), which the daemon reads
    #[arg(help_heading = HEADING, long, value_name = "FOLDER")]
    pub(crate) hosts_dir: Option<PathBuf>,
    /// Certificate of the authority that signed the registry's
    #[arg(help_heading = HEADING, long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// Certificate to show to the registry
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "tlskey")]
    tlscert: Option<PathBuf>,
    /// Key of that certificate
    #[arg(help_heading = HEADING, long, value_name = "FILE", requires = "tlscert")]
    tlskey: Option<PathBuf>,
    /// Not possible here: the daemon speaks with the registry
    #[arg(long, hide = true)]
    http_dump: bool,
    /// Not possible here: the daemon speaks with the registry
    #[arg(long, hide = true)]
    http_trace: bool,
}

/// What a command can offer to somebody whom the registry turned away.
pub(crate) struct Offered {
    credentials: &'static str,
    certificates: &'static str,
}

/// What commands offer that take [`RegistryFlags`].
pub(crate) const ALL: Offered = Offered {
    credentials: "give credentials with --user NAME[:PASSWORD]",
    certificates: "--tlscacert FILE names the authority's certificate; --skip-verify trusts any",
};

/// What `run` offers, whose `--user` is the container's.
pub(crate) const OF_RUN: Offered = Offered {
    credentials: "give credentials with --creds NAME[:PASSWORD]",
    certificates: "--skip-verify trusts any certificate; `pull --tlscacert FILE` names an authority's",
};

/// A reference with how to get at it; keeps what the daemon needs for that until it is dropped.
pub(crate) struct Remote {
    /// What the daemon is told.
    pub(crate) registry: RegistryRef,
    secret: Option<Secret>,
    _hosts: Option<Hosts>,
}

/// Credentials for one reference, whatever host asks for them on its behalf.
struct Given {
    reference: String,
    secret: Secret,
}

#[async_trait]
impl Credentials for Given {
    async fn secret(&self, reference: &str, _host: &str) -> Result<Option<Secret>> {
        Ok((reference == self.reference).then(|| self.secret.clone()))
    }
}

impl RegistryFlags {
    /// Makes what the daemon is told of a reference. May ask for a password.
    ///
    /// # Errors
    /// `NotImplemented` for what the daemon cannot be told, `InvalidArgument` for what goes not
    /// together.
    pub(crate) fn remote(self, reference: &str) -> Result<Remote> {
        for (asked, flag) in [(self.http_dump, "--http-dump"), (self.http_trace, "--http-trace")] {
            if asked {
                return Err(Error::not_implemented(flag)
                    .hint("the daemon speaks with the registry, and not this program"));
            }
        }
        let hosts = self.hosts(reference)?;
        let config_path = match (&hosts, &self.hosts_dir) {
            (Some(hosts), _) => text(hosts.path())?,
            (None, Some(folder)) => text(&absolute(folder)?)?,
            (None, None) => String::new(),
        };
        let plain_http = self.plain_http;
        let secret = self.secret()?;
        let registry = RegistryRef { config_path, plain_http, ..RegistryRef::default() };
        let mut remote = Remote { registry, secret, _hosts: hosts };
        remote.registry = remote.of(reference);
        Ok(remote)
    }

    fn hosts(&self, reference: &str) -> Result<Option<Hosts>> {
        let certificates = self.tlscacert.is_some() || self.tlscert.is_some();
        if !self.skip_verify && !certificates {
            return Ok(None);
        }
        if self.hosts_dir.is_some() {
            return Err(Error::not_implemented(
                "--hosts-dir together with --skip-verify or certificates",
            )
            .hint("write skip_verify, ca and client into the folder's hosts.toml"));
        }
        let verify = if self.skip_verify { hosts::Verify::No } else { hosts::Verify::Yes };
        let identity = match (&self.tlscert, &self.tlskey) {
            (Some(certificate), Some(key)) => Some((absolute(certificate)?, absolute(key)?)),
            _ => None,
        };
        let authority = self.tlscacert.as_deref().map(absolute).transpose()?;
        Hosts::write(reference, verify, authority, identity).map(Some)
    }

    fn secret(self) -> Result<Option<Secret>> {
        let Some(user) = self.user.filter(|user| !user.is_empty()) else {
            return Ok(self.refresh.filter(|token| !token.is_empty()).map(Secret::Refresh));
        };
        let (username, password) = match user.split_once(':') {
            Some((name, password)) if !name.is_empty() => (name.to_owned(), password.to_owned()),
            _ => (user, String::new()),
        };
        let password = match (password.is_empty(), std::env::var(PASSWORD)) {
            (false, _) => password,
            (true, Ok(password)) => password,
            (true, Err(_)) => ask_for_password()?,
        };
        Ok(Some(Secret::Basic { username, password }))
    }
}

impl Remote {
    /// Returns how to get at another object of the same repository.
    pub(crate) fn of(&self, reference: &str) -> RegistryRef {
        let credentials = self.secret.clone().map(|secret| {
            Arc::new(Given { reference: reference.to_owned(), secret }) as Arc<dyn Credentials>
        });
        RegistryRef { reference: reference.to_owned(), credentials, ..self.registry.clone() }
    }

    /// Says by which flag an error could be cured, where the daemon's own hint knows of files only.
    pub(crate) fn hinted(&self, error: Error, flags: &Offered) -> Error {
        let said = error.to_string();
        let hint = if error.is(ErrorKind::Unauthenticated) && self.registry.credentials.is_none() {
            flags.credentials
        } else if said.contains("failed to verify certificate") {
            flags.certificates
        } else if self.registry.plain_http && said.contains("400 Bad Request") {
            "if the registry speaks TLS, leave --plain-http out"
        } else {
            return error;
        };
        error.hint(hint)
    }
}

/// Reads a password from the terminal without showing it, or else a line from standard input.
fn ask_for_password() -> Result<String> {
    let stdin = io::stdin();
    let failed = |error: &io::Error| Error::io("read the password", error);
    let mut line = String::new();
    if stdin.is_terminal() {
        let terminal = |error: rustix::io::Errno| failed(&error.into());
        let before = tcgetattr(&stdin).map_err(terminal)?;
        let mut silent = before.clone();
        // An interrupt now would leave the terminal silent.
        silent.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        silent.local_modes.insert(LocalModes::ECHONL);
        // Nobody sees the question if standard error is gone; the answer is still read.
        let _ = write!(io::stderr(), "Password: ");
        tcsetattr(&stdin, OptionalActions::Flush, &silent).map_err(terminal)?;
        let read = stdin.lock().read_line(&mut line);
        let restored = tcsetattr(&stdin, OptionalActions::Flush, &before).map_err(terminal);
        read.map_err(|error| failed(&error))?;
        restored?;
    } else {
        stdin.lock().read_line(&mut line).map_err(|error| failed(&error))?;
    }
    let password = line.trim_end_matches(['\r', '\n']).to_owned();
    if password.is_empty() {
        return Err(Error::unauthenticated("no password was given")
            .hint("write --user NAME:PASSWORD, or the password on standard input"));
    }
    Ok(password)
}

/// The daemon has another working directory.
fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(|error| Error::io(format_args!("open {}", path.display()), &error))
}

fn text(path: &Path) -> Result<String> {
    path.to_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::invalid(format_args!("path {:?} is not UTF-8", path.display())))
}
