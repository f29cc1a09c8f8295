//! Copying a file's content without carrying it through the process, holes kept.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

/// Copies `len` bytes of content from the start of `from` to the start of the empty file `to`.
///
/// Blocks are shared where the file system can (reflink), else copied by the kernel, else by hand.
pub fn content(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    if len == 0 {
        return Ok(());
    }
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < len {
        let Some((start, end)) = next_data(from, at, len)? else { break };
        range(from, to, start, end - start)?;
        at = end;
    }
    // A hole at the end is not reached by any write.
    Ok(rustix::fs::ftruncate(to, len)?)
}

/// Finds the next piece of `file` at or after `at`, and below `len`, that is not a hole.
///
/// A file system that cannot tell says that all of it is content. Moves the file's offset.
pub fn next_data(file: BorrowedFd<'_>, at: u64, len: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(Errno::INVAL) => return Ok((at < len).then_some((at, len))),
        Err(error) => return Err(error.into()),
    };
    if start >= len {
        return Ok(None);
    }
    let end = rustix::fs::seek(file, SeekFrom::Hole(start))?;
    Ok(Some((start, end.min(len))))
}

fn range(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, len: u64) -> io::Result<()> {
    let (mut source, mut target) = (start, start);
    let end = start + len;
    while source < end {
        let want = usize::try_from(end - source).unwrap_or(usize::MAX).min(1 << 30);
        match rustix::fs::copy_file_range(from, Some(&mut source), to, Some(&mut target), want) {
            // The file became shorter while it was copied.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::TXTBSY) => {
                return by_hand(from, to, source, end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn by_hand(from: BorrowedFd<'_>, to: BorrowedFd<'_>, start: u64, end: u64) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(buffer.len());
        let read = match rustix::io::pread(from, &mut buffer[..want], at) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut done = 0;
        while done < read {
            match rustix::io::pwrite(to, &buffer[done..read], at + done as u64) {
                Ok(wrote) => done += wrote,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        at += read as u64;
    }
    Ok(())
}
