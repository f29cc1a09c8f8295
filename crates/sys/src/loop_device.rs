//! Loop devices: files that can be mounted (loop(4), linux/loop.h).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

/// How a file is bound to a loop device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// Whether the device can be written to.
    pub access: Access,
    /// Whether reads and writes of the file go through the page cache a second time.
    pub io: Io,
}

/// Whether a device can be written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes.
    #[default]
    ReadWrite,
    /// Reads only.
    ReadOnly,
}

/// How a device reads its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Io {
    /// Through the page cache.
    #[default]
    Buffered,
    /// Past the page cache.
    Direct,
}

/// A loop device in use. The device frees itself when it is neither open nor mounted any more.
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    _file: File,
}

impl LoopDevice {
    /// Binds a file to a free device (Linux 5.8).
    ///
    /// # Errors
    /// When there are no loop devices, the file cannot be opened, or other programs take the free
    /// devices faster than this one can.
    pub fn bind(backing: &Path, binding: Binding) -> io::Result<Self> {
        let read_only = binding.access == Access::ReadOnly;
        let backing = OpenOptions::new().read(true).write(!read_only).open(backing)?;
        let control = OpenOptions::new().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..100 {
            // SAFETY: this request takes no argument and returns a device number.
            let number = unsafe { libc::ioctl(control.as_fd().as_raw_fd(), CTL_GET_FREE) };
            if number < 0 {
                return Err(io::Error::last_os_error());
            }
            let path = PathBuf::from(format!("/dev/loop{number}"));
            let device = OpenOptions::new().read(true).write(!read_only).open(&path)?;
            let mut flags = FLAG_AUTOCLEAR;
            if read_only {
                flags |= FLAG_READ_ONLY;
            }
            if binding.io == Io::Direct {
                flags |= FLAG_DIRECT_IO;
            }
            let config = Config {
                fd: backing.as_fd().as_raw_fd().cast_unsigned(),
                block_size: 0,
                info: Info { flags, ..Info::default() },
                reserved: [0; 8],
            };
            // SAFETY: `config` is a loop_config of this kernel interface, only read, and it and the
            // backing file's descriptor outlive the call.
            let result =
                unsafe { libc::ioctl(device.as_fd().as_raw_fd(), CONFIGURE, &raw const config) };
            if result == 0 {
                return Ok(Self { path, _file: device });
            }
            let error = io::Error::last_os_error();
            // Another program took the device in between.
            if error.raw_os_error() != Some(libc::EBUSY) {
                return Err(error);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }

    /// Returns the device's path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

const CTL_GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;
const FLAG_READ_ONLY: u32 = 1;
const FLAG_AUTOCLEAR: u32 = 4;
const FLAG_DIRECT_IO: u32 = 16;

#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    info: Info,
    reserved: [u64; 8],
}

/// `loop_info64`.
#[repr(C)]
struct Info {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Default for Info {
    fn default() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}
