//! Unix sockets to listen on.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;

use stowd_core::{Error, Result};
use tokio::net::UnixListener;

use crate::config::Socket;

/// Listens on a socket, in place of one that nobody listens on any more.
pub(crate) fn listen(socket: &Socket) -> Result<UnixListener> {
    let path = &socket.path;
    let failed = |act: &str, error: &std::io::Error| {
        Error::io(format_args!("{act} {}", path.display()), error)
    };
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o711)
            .create(folder)
            .map_err(|error| failed("make the folder of socket", &error))?;
    }
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed("stat", &error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::failed_precondition(format_args!(
                "{} is in the way: it is not a socket",
                path.display()
            )));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(Error::unavailable(format_args!("address {} is in use", path.display()))
                .hint("another daemon listens there: stop that one, or give this one another --address"));
        }
        Ok(_) => fs::remove_file(path).map_err(|error| failed("remove stale socket", &error))?,
    }
    let listener = UnixListener::bind(path).map_err(|error| failed("listen on", &error))?;
    // Between bind and here only the owner can connect, as the umask has it.
    fs::set_permissions(path, Permissions::from_mode(0o660))
        .and_then(|()| chown(path, Some(socket.uid), Some(socket.gid)))
        .map_err(|error| failed("set owner and mode of", &error))?;
    Ok(listener)
}
