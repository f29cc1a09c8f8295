//! What a runtime says of itself.

use std::process::Stdio;

use stowd_api::types::{RuntimeInfo, RuntimeRequest};
use stowd_api::{Any, Message as _};
use stowd_core::{Error, Result};
use tokio::io::AsyncWriteExt as _;

use crate::Manager;

impl Manager {
    /// Asks a runtime's shim about itself (`SHIM -info`): takes a packed
    /// `containerd.types.RuntimeRequest` and returns a packed `RuntimeInfo`.
    ///
    /// # Errors
    /// `NotImplemented` for another message, `InvalidArgument` for one that does not decode,
    /// `Unknown` when there is no such runtime or it does not answer, `DeadlineExceeded` when it
    /// takes too long.
    pub async fn info(&self, request: stowd_core::Any) -> Result<stowd_core::Any> {
        let request = Any::from(request);
        let wrong = |error| Error::invalid(format_args!("{}: {error}", request.type_url));
        let Some(asked) = request.unpack::<RuntimeRequest>().map_err(wrong)? else {
            let kind = &request.type_url;
            return Err(Error::not_implemented(format_args!("unknown request type {kind}")));
        };
        let config = &self.inner.config;
        let program = self.inner.programs.find(config, &asked.runtime_path).await;
        let path = program.map_err(|error| error.context("failed to resolve runtime path"))?.path;
        let input = asked.options.map(|options| options.encode_to_vec()).unwrap_or_default();
        let what = format!("[{} -info]", path.display());
        let failed = |error: &std::io::Error| Error::io(format_args!("run {what}"), error);
        let answer = async {
            let mut child = tokio::process::Command::new(&path)
                .arg("-info")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()?;
            let mut stdin = child.stdin.take();
            let write = async {
                if let Some(stdin) = &mut stdin {
                    // One that does not care for options may be gone already.
                    let _ = stdin.write_all(&input).await;
                }
                drop(stdin);
            };
            tokio::join!(write, child.wait_with_output()).1
        };
        let answer = tokio::time::timeout(config.timeouts.call, answer)
            .await
            .map_err(|_| Error::deadline_exceeded(format_args!("{what} does not answer")))?
            .map_err(|error| failed(&error))?;
        if !answer.status.success() {
            let status = match answer.status.code() {
                Some(code) => format!("exit status {code}"),
                None => answer.status.to_string(),
            };
            return Err(Error::unknown(format_args!(
                "failed to run {what}: {status} (stderr: {:?})",
                String::from_utf8_lossy(&answer.stderr)
            )));
        }
        let info = RuntimeInfo::decode(&*answer.stdout).map_err(|error| {
            Error::unknown(format_args!("failed to unmarshal stdout from {what}: {error}"))
        })?;
        Ok(Any::pack(&info).into())
    }
}
