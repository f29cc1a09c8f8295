//! A thread with a working directory and a file mode mask of its own.
//!
//! Both belong to the whole process otherwise, so that changing them for one job would disturb all
//! others.

use std::io;
use std::thread;

/// Runs `job` on a new thread whose working directory and mask (zero) are its own, and waits for it.
///
/// The thread ends with the job, since what it took apart cannot be joined again.
///
/// # Errors
/// When the thread cannot be started or taken apart.
///
/// # Panics
/// When the job does.
pub fn run<T: Send>(name: &str, job: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, || {
            take_apart()?;
            rustix::process::umask(rustix::fs::Mode::empty());
            Ok(job())
        })?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn take_apart() -> io::Result<()> {
    // SAFETY: CLONE_FS concerns the calling thread's working directory, root and mask only; memory
    // and descriptors stay shared as they are.
    if unsafe { libc::unshare(libc::CLONE_FS) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
