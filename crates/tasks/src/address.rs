//! Where a shim listens, and in which version it is spoken to.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream as StdStream};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use stowd_api::Message as _;
use stowd_api::runtime::bootstrap::v1::BootstrapResult;
use stowd_core::{Error, Namespace, Result};
use tokio::net::UnixStream;

use crate::Config;

/// The most bytes that the kernel takes as a socket's path, less the null.
const LONGEST: usize = 107;

/// Where sockets go whose path would be too long.
const SHORT: &str = "/run/containerd/s";

/// The highest version of the task service that is understood.
const NEWEST: i32 = 3;

/// What a shim says of itself when it starts; `bootstrap.json` in its bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bootstrap {
    /// The version of its task service: 2 or 3.
    pub(crate) version: i32,
    /// Where it listens.
    pub(crate) address: String,
    /// `ttrpc`, or `grpc`, which we do not speak.
    pub(crate) protocol: String,
}

impl Bootstrap {
    /// Describes our own shim at a socket.
    pub(crate) fn own(socket: &Path) -> Self {
        Self {
            version: NEWEST,
            address: format!("unix://{}", socket.display()),
            protocol: "ttrpc".to_owned(),
        }
    }

    /// Describes a shim of which only the address is known.
    pub(crate) fn old(address: &str) -> Self {
        Self { version: 2, address: address.to_owned(), protocol: "ttrpc".to_owned() }
    }

    /// Reads a shim's answer to `start`, in any of the three forms there have been: protobuf, JSON,
    /// or the bare address.
    pub(crate) fn read(answer: &[u8]) -> Result<Self> {
        let text = answer.trim_ascii();
        let read = match serde_json::from_slice::<Self>(text) {
            Ok(read) => read,
            // An address is never valid protobuf: its first letter is no field that there is.
            Err(_) => match BootstrapResult::decode(answer) {
                Ok(result) if !result.address.is_empty() => Self {
                    version: result.version,
                    address: result.address,
                    protocol: result.protocol,
                },
                _ => Self::old(&String::from_utf8_lossy(text)),
            },
        };
        if read.version > NEWEST {
            return Err(Error::not_implemented(format_args!(
                "unsupported shim version ({})",
                read.version
            )));
        }
        if read.address.is_empty() {
            return Err(Error::unknown("the shim did not say where it listens"));
        }
        Ok(read)
    }

    /// Connects.
    pub(crate) async fn connect(&self) -> Result<UnixStream> {
        if !matches!(&*self.protocol, "ttrpc" | "") {
            return Err(Error::not_implemented(format_args!(
                "shims that speak {} are not supported",
                self.protocol
            )));
        }
        let address = &self.address;
        let connected = match self.place() {
            Place::Path(path) => UnixStream::connect(path).await,
            Place::Abstract(name) => connect_abstract(name),
            Place::Other(scheme) => {
                return Err(Error::not_implemented(format_args!("unsupported protocol: {scheme}")));
            }
        };
        connected.map_err(|error| {
            Error::unavailable(format_args!("connect to the shim at {address}: {error}"))
        })
    }

    /// Returns the socket's path, where it has one.
    pub(crate) fn socket(&self) -> Option<PathBuf> {
        match self.place() {
            Place::Path(path) => Some(path.to_owned()),
            _ => None,
        }
    }

    fn place(&self) -> Place<'_> {
        match self.address.split_once("://") {
            Some(("unix", path)) => Place::Path(Path::new(path)),
            Some((scheme, _)) => Place::Other(scheme),
            None => Place::Abstract(&self.address),
        }
    }
}

enum Place<'a> {
    Path(&'a Path),
    Abstract(&'a str),
    Other(&'a str),
}

fn connect_abstract(name: &str) -> io::Result<UnixStream> {
    let stream = StdStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Returns the path of the socket of the shim of a container or group, as containerd derives it.
pub(crate) fn socket(config: &Config, namespace: &Namespace, group: &str) -> PathBuf {
    // As path.Join does, or tools that derive it would look elsewhere.
    let mut name = PathBuf::from(&config.grpc_address);
    name.push(namespace.as_str());
    name.push(group);
    let hash = Sha256::digest(name.as_os_str().as_bytes());
    let mut file = String::with_capacity(64);
    for byte in hash {
        use std::fmt::Write as _;
        let _ = write!(file, "{byte:02x}");
    }
    folder(config).join(file)
}

/// Returns the folder of the sockets of shims.
pub(crate) fn folder(config: &Config) -> PathBuf {
    let wanted = config.socket_dir.clone().unwrap_or_else(|| config.state.join("s"));
    if wanted.as_os_str().len() + 65 > LONGEST { PathBuf::from(SHORT) } else { wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_the_answer_are_read() {
        let json = br#"{"version":3,"address":"unix:///run/s/1","protocol":"ttrpc"}"#;
        let wanted = Bootstrap::own(Path::new("/run/s/1"));
        assert_eq!(Bootstrap::read(json).unwrap(), wanted);
        let message = BootstrapResult {
            version: 3,
            address: "unix:///run/s/1".into(),
            protocol: "ttrpc".into(),
            ..Default::default()
        };
        assert_eq!(Bootstrap::read(&message.encode_to_vec()).unwrap(), wanted);
        let old = Bootstrap::read(b"unix:///run/s/1\n").unwrap();
        assert_eq!((old.version, old.socket()), (2, wanted.socket()));
        assert!(Bootstrap::read(b"").is_err());
        assert!(Bootstrap::read(br#"{"version":4,"address":"unix:///a","protocol":""}"#).is_err());
    }

    #[test]
    fn sockets_are_where_containerd_has_them() {
        let mut config = Config {
            root: "/r".into(),
            state: "/run/containerd".into(),
            socket_dir: None,
            shim_path: None,
            grpc_address: "/run/containerd/containerd.sock".into(),
            ttrpc_address: String::new(),
            env: Vec::new(),
            timeouts: Default::default(),
        };
        let namespace = Namespace::new("default").unwrap();
        let path = socket(&config, &namespace, "c");
        let hash = Sha256::digest("/run/containerd/containerd.sock/default/c");
        assert_eq!(path.parent().unwrap(), Path::new("/run/containerd/s"));
        assert!(path.to_str().unwrap().ends_with(&format!("{:02x}", hash[31])));
        config.state = PathBuf::from(format!("/{}", "long/".repeat(10)));
        assert_eq!(folder(&config), Path::new(SHORT));
    }
}
