//! What files can do beyond `rustix::fs`.

use std::os::fd::{AsFd, AsRawFd};

use rustix::io::{Errno, Result};

/// Asks the kernel to begin writing a range of a file to disk, without waiting for it
/// (`sync_file_range(2)`). Says nothing about durability.
pub fn begin_write_out(file: impl AsFd, offset: u64, len: u64) -> Result<()> {
    let (Ok(offset), Ok(len)) = (offset.try_into(), len.try_into()) else {
        return Err(Errno::OVERFLOW);
    };
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as `file` is borrowed, and the call takes no
    // pointers.
    let result = unsafe { libc::sync_file_range(fd, offset, len, libc::SYNC_FILE_RANGE_WRITE) };
    if result == 0 {
        Ok(())
    } else {
        let number = std::io::Error::last_os_error().raw_os_error();
        Err(Errno::from_raw_os_error(number.unwrap_or_default()))
    }
}
