//! `content edit`.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use stowd_core::content::{Store as _, WriterOptions};
use stowd_core::{Digest, Error, Result};

use super::ingest::{self, Pieces};
use crate::context::Context;
use crate::failure::Outcome;

/// Opens a blob in an editor, stores what comes out as another, and prints that one's digest.
#[derive(Debug, clap::Args)]
pub(crate) struct Edit {
    /// Not possible here, as in ctr
    #[arg(long, value_name = "FORMAT", hide = true)]
    validate: Option<String>,
    /// The editor's command line
    #[arg(long, env = "EDITOR", value_name = "COMMAND")]
    editor: Option<String>,
    /// The blob's digest
    digest: String,
}

impl Edit {
    pub(crate) async fn run(self, at: &Context) -> Outcome {
        if self.validate.is_some() {
            return Err(Error::not_implemented("content edit with --validate").into());
        }
        let digest: Digest = self.digest.parse()?;
        let editor = self.editor.filter(|editor| !editor.is_empty());
        let editor = editor.ok_or_else(|| {
            Error::invalid("editor is required").hint("name one with --editor, or set EDITOR")
        })?;
        let client = at.client().await?;
        let data = client.read_blob(&digest).await?;
        let copy = Copy::new(&data)?;
        copy.edit(&editor)?;
        let edited = File::open(&copy.path).map_err(|error| copy.failed("open", &error))?;
        let reference = format!("edit-{}-{digest}", std::process::id());
        let content = client.connection().content();
        let options = WriterOptions { reference: reference.clone(), ..WriterOptions::default() };
        let written = ingest::write(&client, options, Pieces::of(edited)).await;
        if written.is_err() {
            // Nobody will go on with it.
            let _ = content.abort(client.scope(), &reference).await;
        }
        let edited = written?.unwrap_or(digest);
        Ok(at.printer.line(edited)?)
    }
}

/// A file for the editor, removed when dropped.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn new(data: &[u8]) -> Result<Self> {
        let folder = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let folder = folder.filter(|folder| folder.is_dir()).unwrap_or_else(std::env::temp_dir);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let copy = Self { path: folder.join(format!("edit-{}-{now}", std::process::id())) };
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&copy.path)
            .and_then(|mut file| file.write_all(data))
            .map_err(|error| copy.failed("write", &error))?;
        Ok(copy)
    }

    fn edit(&self, editor: &str) -> Result<()> {
        // A shell splits the editor's command line and not the path.
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(&self.path);
        let status = shell.status().map_err(|error| Error::io("start the editor", &error))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::unknown(format_args!("the editor {editor:?} failed: {status}")))
    }

    fn failed(&self, act: &str, error: &std::io::Error) -> Error {
        let path: &Path = &self.path;
        Error::io(format_args!("{act} {}", path.display()), error)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // It may hold nothing secret: the blob is the daemon's, for whoever reaches its socket.
        let _ = fs::remove_file(&self.path);
    }
}
