//! Where a process's standard streams lead, and the copying between them and the fifos.

use std::path::PathBuf;

use stowd_core::tasks::Stdio;
use stowd_core::{Error, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::fifo::{DEFAULT_FIFO_ROOT, Fifos};

/// As much as a pipe holds.
const PIECE: usize = 64 << 10;

/// Where a new process's streams lead.
pub enum Io {
    /// Nowhere.
    Null,
    /// To a logging URI (`file://…`, `binary://…`, `fifo://…`) that the shim opens.
    Log(String),
    /// To streams of this program, through fifos.
    Streams(Streams),
}

/// Streams of this program that a process is connected with.
pub struct Streams {
    /// What the process reads; none for nothing.
    pub stdin: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Where its output goes; none leaves the fifo unread, for somebody who attaches later.
    pub stdout: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Where its errors go; not used with a terminal.
    pub stderr: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Gives the process a terminal.
    pub terminal: bool,
    /// Where the fifos are made.
    pub fifo_root: PathBuf,
}

impl Io {
    /// Connects a process with this program's own streams.
    pub fn inherit() -> Self {
        Self::Streams(Streams {
            stdin: Some(Box::new(tokio::io::stdin())),
            stdout: Some(Box::new(tokio::io::stdout())),
            stderr: Some(Box::new(tokio::io::stderr())),
            ..Streams::default()
        })
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            stdin: None,
            stdout: None,
            stderr: None,
            terminal: false,
            fifo_root: DEFAULT_FIFO_ROOT.into(),
        }
    }
}

/// A process's streams while this program is connected with them; dropping it ends the copying.
#[derive(Debug, Default)]
pub(crate) struct Connected {
    stdio: Stdio,
    fifos: Option<Fifos>,
    output: JoinSet<()>,
    unread: Vec<pipe::Receiver>,
    input: Option<Input>,
    copying: Option<AbortOnDropHandle<()>>,
}

/// What leads from this program to the process's input.
pub(crate) struct Input {
    from: Box<dyn AsyncRead + Send + Unpin>,
    to: pipe::Sender,
}

/// Why copying input has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// There is no more.
    ByItself,
    /// The fifo is broken.
    Refused,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("to", &self.to).finish_non_exhaustive()
    }
}

impl Connected {
    /// Makes what a new process needs. Fifos are open for reading when this returns, so that
    /// nothing the process writes can be lost or wait.
    pub(crate) fn new(io: Io, id: &str) -> Result<Self> {
        match io {
            Io::Null => Ok(Self::default()),
            Io::Log(uri) => {
                let stdio = Stdio { stdout: uri.clone(), stderr: uri, ..Stdio::default() };
                Ok(Self { stdio, ..Self::default() })
            }
            Io::Streams(streams) => {
                let fifos = Fifos::make(&streams.fifo_root, id, streams.terminal)?;
                match Self::copy(fifos.stdio(), streams) {
                    Ok(connected) => Ok(Self { fifos: Some(fifos), ..connected }),
                    Err(error) => {
                        fifos.remove();
                        Err(error)
                    }
                }
            }
        }
    }

    /// Connects with the fifos of a process that was made by somebody else.
    pub(crate) fn attach(stdio: Stdio, streams: Streams) -> Result<Self> {
        let connected = Self::copy(&stdio, streams)?;
        Ok(Self { fifos: Some(Fifos::of(stdio)), ..connected })
    }

    /// Knows of the fifos of a process, to remove them in the end.
    pub(crate) fn known(stdio: Stdio) -> Self {
        let is_path = stdio.stdout.starts_with('/');
        let fifos = is_path.then(|| Fifos::of(stdio.clone()));
        Self { stdio, fifos, ..Self::default() }
    }

    fn copy(stdio: &Stdio, streams: Streams) -> Result<Self> {
        let mut connected = Self { stdio: stdio.clone(), ..Self::default() };
        for (path, to) in [(&stdio.stdout, streams.stdout), (&stdio.stderr, streams.stderr)] {
            if path.is_empty() {
                continue;
            }
            let from = pipe::OpenOptions::new()
                .open_receiver(path)
                .map_err(|error| Error::io(format_args!("open {path}"), &error))?;
            match to {
                Some(to) => _ = connected.output.spawn(copy_output(from, to)),
                // containerd's shim waits until somebody has the fifo open.
                None => connected.unread.push(from),
            }
        }
        if let (Some(from), false) = (streams.stdin, stdio.stdin.is_empty()) {
            // Opened for both: the shim may not have its end open yet, and must not miss ours.
            let to = pipe::OpenOptions::new()
                .read_write(true)
                .open_sender(&stdio.stdin)
                .map_err(|error| Error::io(format_args!("open {}", stdio.stdin), &error))?;
            connected.input = Some(Input { from, to });
        }
        Ok(connected)
    }

    pub(crate) fn stdio(&self) -> &Stdio {
        &self.stdio
    }

    /// Returns the input, to be copied once the process can take it.
    pub(crate) fn take_input(&mut self) -> Option<Input> {
        self.input.take()
    }

    /// Runs what copies the input for as long as this lives.
    pub(crate) fn keep(&mut self, copying: impl Future<Output = ()> + Send + 'static) {
        self.copying = Some(AbortOnDropHandle::new(tokio::spawn(copying)));
    }

    /// Waits until all output has been copied, which is when the process's side is closed.
    pub(crate) async fn output_ended(&mut self) {
        while self.output.join_next().await.is_some() {}
        self.copying = None;
    }

    /// Removes the fifos.
    pub(crate) fn remove(&mut self) {
        if let Some(fifos) = self.fifos.take() {
            fifos.remove();
        }
    }
}

/// Copies until the process's side closes. Output that nobody takes is thrown away, as the process
/// would otherwise wait for ever.
async fn copy_output(mut from: pipe::Receiver, mut to: Box<dyn AsyncWrite + Send + Unpin>) {
    let mut buffer = vec![0; PIECE];
    let mut taken = true;
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) if taken => {
                let written = to.write_all(&buffer[..count]).await;
                taken = written.is_ok() && to.flush().await.is_ok();
            }
            Ok(_) => {}
        }
    }
}

impl Input {
    /// Copies until our side ends. The fifo stays open until this is dropped: what is in a fifo goes
    /// when nobody has it open, and the shim may be about to open it.
    pub(crate) async fn copy(&mut self) -> Ended {
        let mut buffer = vec![0; PIECE];
        while let Ok(count @ 1..) = self.from.read(&mut buffer).await {
            if self.to.write_all(&buffer[..count]).await.is_err() {
                return Ended::Refused;
            }
        }
        Ended::ByItself
    }
}
