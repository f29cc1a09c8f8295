//! Stream processors: programs that turn a layer of one media type into another before it is applied,
//! to decrypt it for instance.
//!
//! The protocol is containerd's. The program reads the layer from standard input and writes the
//! result to standard output. `STREAM_PROCESSOR_MEDIATYPE` names the media type that it gets. Where
//! the caller sent a payload under the processor's id, descriptor 3 is a pipe with it, as a protobuf
//! `Any`. It succeeds by ending with status 0; what it wrote to standard error is the error otherwise.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};
use stowd_core::descriptor::media_type;
use stowd_core::{Any, Error, ErrorKind, Result};
use stowd_sys::exec::ExecStrings;
use stowd_sys::spawn::{Spawn, spawn};

use crate::flow::{Outcome, Pool, Sender, Stream};

/// How much of what a program says about its failure is kept.
const LONGEST_MESSAGE: u64 = 16 << 10;

/// The most programs that one layer goes through: more of them turn in a circle.
const LONGEST_CHAIN: usize = 16;

/// A program that turns layers of some media types into another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processor {
    /// Its id: payloads for it are sent under this name.
    pub id: String,
    /// The media types that it takes.
    pub accepts: Vec<String>,
    /// The media type that it makes.
    pub returns: String,
    /// The program: a path, or a name that is looked for in `PATH`.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Further environment, each `NAME=value`.
    pub env: Vec<String>,
}

/// A program that runs, and what it gets and gives.
struct Running {
    name: String,
    pidfd: OwnedFd,
    input: Option<OwnedFd>,
    output: Option<OwnedFd>,
    messages: OwnedFd,
    payload: Option<(OwnedFd, Vec<u8>)>,
}

/// Finds the programs that a layer must go through, in order, and the media type that comes out.
pub(crate) fn chain<'a>(
    processors: &'a [Processor],
    kind: &str,
) -> Result<(Vec<(&'a Processor, String)>, String)> {
    let mut kind = kind.to_owned();
    let mut chain = Vec::new();
    while let Some(next) = processors.iter().find(|p| p.accepts.contains(&kind)) {
        if chain.len() == LONGEST_CHAIN {
            return Err(Error::invalid(format_args!(
                "stream processors turn in a circle at media type {kind:?}"
            ))
            .hint("look at accepts and returns in stream_processors"));
        }
        chain.push((next, std::mem::replace(&mut kind, next.returns.clone())));
        if kind == media_type::LAYER {
            break;
        }
    }
    Ok((chain, kind))
}

/// Runs a layer through programs.
pub(crate) struct Chain(Vec<Running>);

impl Chain {
    /// Starts the programs.
    pub(crate) fn start(
        chain: &[(&Processor, String)],
        payloads: &std::collections::BTreeMap<String, Any>,
    ) -> Result<Self> {
        let mut running = Self(Vec::new());
        for (processor, kind) in chain {
            let payload = payloads.get(&processor.id).map(encoded);
            let one = Running::start(processor, kind, payload).map_err(|error| {
                error.context(format_args!("stream processor {}", processor.id))
            })?;
            running.0.push(one);
        }
        Ok(running)
    }

    /// Feeds the first program, passes on what the last one makes, and waits for all of them.
    pub(crate) fn run(mut self, mut packed: Stream, made: &Sender) -> Result<Outcome> {
        let given_up = &AtomicBool::new(false);
        thread::scope(|scope| {
            let mut inputs = self.0.iter_mut().map(|one| one.input.take()).collect::<Vec<_>>();
            let mut outputs = self.0.iter_mut().map(|one| one.output.take()).collect::<Vec<_>>();
            let last = outputs.pop().flatten();
            let first = (!inputs.is_empty()).then(|| inputs.remove(0)).flatten();
            for one in &mut self.0 {
                if let Some((pipe, bytes)) = one.payload.take() {
                    // A program that does not read it has no use for it.
                    scope.spawn(move || File::from(pipe).write_all(&bytes));
                }
            }
            // Between two programs.
            for (output, input) in outputs.into_iter().zip(inputs) {
                if let (Some(output), Some(input)) = (output, input) {
                    scope.spawn(move || {
                        std::io::copy(&mut File::from(output), &mut File::from(input))
                    });
                }
            }
            scope.spawn(move || {
                let mut input = first.map(File::from);
                // All of the layer is read, whatever the program wants of it: its digest is checked.
                while let Some(chunk) = packed.next() {
                    if given_up.load(Ordering::Relaxed) {
                        break;
                    }
                    if input.as_mut().is_some_and(|input| input.write_all(&chunk).is_err()) {
                        input = None;
                    }
                }
            });
            let messages = self
                .0
                .iter()
                .map(|one| one.messages.try_clone())
                .collect::<std::io::Result<Vec<_>>>()
                .map_err(|error| Error::io("duplicate a descriptor", &error))?;
            let listening: Vec<_> =
                messages.into_iter().map(|pipe| scope.spawn(move || said(pipe))).collect();
            let outcome = last.map_or(Ok(Outcome::Done), |last| pass_on(File::from(last), made));
            if !matches!(outcome, Ok(Outcome::Done)) {
                given_up.store(true, Ordering::Relaxed);
                self.kill();
            }
            let ended = self.0.iter().map(Running::wait).collect::<Vec<_>>();
            let said: Vec<_> =
                listening.into_iter().map(|t| t.join().unwrap_or_default()).collect();
            if !matches!(outcome, Ok(Outcome::Done)) {
                return outcome;
            }
            for ((one, status), said) in self.0.iter().zip(ended).zip(said) {
                if let Some(how) = status? {
                    let words =
                        format!("stream processor {} ended with {how}: {}", one.name, said.trim());
                    return Err(Error::new(ErrorKind::Unknown, words));
                }
            }
            Ok(Outcome::Done)
        })
    }

    fn kill(&self) {
        for one in &self.0 {
            // One that has ended already is what is wanted.
            let _ = pidfd_send_signal(&one.pidfd, Signal::KILL);
        }
    }
}

impl Drop for Chain {
    /// Leaves no program behind that was started and never fed.
    fn drop(&mut self) {
        self.kill();
        for one in &self.0 {
            let _ = one.wait();
        }
    }
}

impl Running {
    fn start(processor: &Processor, kind: &str, payload: Option<Vec<u8>>) -> Result<Self> {
        let pipe = || {
            pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::io("make a pipe", &error.into()))
        };
        let program = find(&processor.path).ok_or_else(|| {
            Error::failed_precondition(format_args!(
                "program {} not found",
                processor.path.display()
            ))
            .hint("install it, or give its path in stream_processors")
        })?;
        let invalid = |_| Error::invalid("a program, argument or variable has a zero byte in it");
        let c = |bytes: &[u8]| CString::new(bytes).map_err(invalid);
        let mut args = vec![c(processor.path.as_os_str().as_bytes())?];
        for arg in &processor.args {
            args.push(c(arg.as_bytes())?);
        }
        let mut env = Vec::new();
        let added = processor.env.iter().cloned();
        let added: Vec<_> = added.chain([format!("STREAM_PROCESSOR_MEDIATYPE={kind}")]).collect();
        let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
        let names: Vec<_> = added.iter().map(|variable| name(variable)).collect();
        for (name, value) in std::env::vars_os() {
            if !names.iter().any(|added| OsStr::new(added) == name) {
                env.push(c(&[name.as_bytes(), b"=", value.as_bytes()].concat())?);
            }
        }
        for variable in added {
            env.push(c(variable.as_bytes())?);
        }
        let (stdin, input) = pipe()?;
        let (output, stdout) = pipe()?;
        let (messages, stderr) = pipe()?;
        let mut fds: Vec<BorrowedFd<'_>> = vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let extra = payload.is_some().then(pipe).transpose()?;
        if let Some((reader, _)) = &extra {
            fds.push(reader.as_fd());
        }
        let (_, pidfd) = spawn(&Spawn {
            program: &c(program.as_os_str().as_bytes())?,
            args: &ExecStrings::new(args),
            env: &ExecStrings::new(env),
            cwd: c"/",
            fds: &fds,
        })
        .map_err(|error| Error::io(format_args!("start {}", program.display()), &error.into()))?;
        Ok(Self {
            name: processor.id.clone(),
            pidfd,
            input: Some(input),
            output: Some(output),
            messages,
            payload: extra.map(|(_, writer)| writer).zip(payload),
        })
    }

    /// Waits for its end; returns how it ended, unless well.
    fn wait(&self) -> Result<Option<String>> {
        let status = loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CHILD) => return Ok(None),
                status => break status,
            }
        };
        let failed = |error: rustix::io::Errno| Error::io("wait for a program", &error.into());
        Ok(status.map_err(failed)?.and_then(|status| match status.exit_status() {
            Some(0) => None,
            Some(code) => Some(format!("status {code}")),
            None => Some(format!("signal {}", status.terminating_signal().unwrap_or_default())),
        }))
    }
}

/// Finds a program as a shell does.
fn find(program: &std::path::Path) -> Option<PathBuf> {
    if program.as_os_str().as_bytes().contains(&b'/') {
        return program.exists().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn pass_on(mut output: File, made: &Sender) -> Result<Outcome> {
    let pool = Pool::default();
    let mut fill = |buffer: &mut [u8]| loop {
        match output.read(buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => {
                return read.map_err(|error| Error::io("read from a stream processor", &error));
            }
        }
    };
    while let Some(chunk) = pool.chunk(&mut fill)? {
        if made.send(chunk).is_err() {
            return Ok(Outcome::Unwanted);
        }
    }
    Ok(Outcome::Done)
}

/// Reads what a program says, keeps the beginning.
fn said(pipe: OwnedFd) -> String {
    let mut pipe = File::from(pipe);
    let mut said = Vec::new();
    let _ = (&pipe).take(LONGEST_MESSAGE).read_to_end(&mut said);
    let _ = std::io::copy(&mut pipe, &mut std::io::sink());
    String::from_utf8_lossy(&said).into_owned()
}

/// Writes a payload as the message `google.protobuf.Any`.
fn encoded(any: &Any) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (tag, value) in [(0x0a, any.type_url.as_bytes()), (0x12, &any.value[..])] {
        if value.is_empty() {
            continue;
        }
        bytes.push(tag);
        let mut length = value.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(value);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn processor(accepts: &str, returns: &str) -> Processor {
        Processor {
            id: accepts.to_owned(),
            accepts: vec![accepts.to_owned()],
            returns: returns.to_owned(),
            ..Processor::default()
        }
    }

    #[test]
    fn chains_end_at_a_layer() {
        let processors =
            [processor("a", "b"), processor("b", media_type::LAYER), processor("x", "y")];
        let ids = |kind: &str| {
            let (chain, end) = chain(&processors, kind).unwrap();
            (chain.iter().map(|(p, _)| p.id.clone()).collect::<Vec<_>>(), end)
        };
        assert_eq!(ids("a"), (vec!["a".into(), "b".into()], media_type::LAYER.into()));
        assert_eq!(ids("x"), (vec!["x".into()], "y".into()));
        assert_eq!(ids("z"), (vec![], "z".into()));
        let circle = [processor("a", "b"), processor("b", "a")];
        assert!(chain(&circle, "a").unwrap_err().to_string().contains("circle"));
    }

    #[test]
    fn payloads_are_messages() {
        let any = Any { type_url: "t".into(), value: vec![7; 200].into() };
        let bytes = encoded(&any);
        assert_eq!(bytes[..6], [0x0a, 1, b't', 0x12, 0xc8, 1]);
        assert_eq!(bytes.len(), 206);
    }
}
