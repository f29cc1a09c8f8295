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

/// A loop device in use. The device frees itself when it is neither open nor mounted any more, unless
/// it is [kept](LoopDevice::keep).
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    file: File,
}

/// Which file a device is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backing {
    /// The number of the file system's device, as the loop driver writes it.
    pub device: u64,
    /// The file's inode.
    pub inode: u64,
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
                return Ok(Self { path, file: device });
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

    /// Returns which file the device is bound to.
    ///
    /// # Errors
    /// When the device was freed meanwhile.
    pub fn backing(&self) -> io::Result<Backing> {
        status(&self.file).map(|info| info.backing())
    }

    /// Keeps the device bound when nobody has it open, until it is [released](release).
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn keep(self) -> io::Result<()> {
        let info = status(&self.file)?;
        set_status(&self.file, &Info { flags: info.flags & !FLAG_AUTOCLEAR, ..info })
    }
}

/// Lets a kept device free itself when it is neither open nor mounted any more, if it is still bound
/// to that file; says whether it is.
///
/// # Errors
/// When the device cannot be opened or changed.
pub fn release(device: &Path, backing: Backing) -> io::Result<bool> {
    let Some((file, info)) = bound(device, backing)? else { return Ok(false) };
    set_status(&file, &Info { flags: info.flags | FLAG_AUTOCLEAR, ..info })?;
    Ok(true)
}

/// Says whether a device is bound to that file.
///
/// # Errors
/// When the device cannot be opened.
pub fn is_bound(device: &Path, backing: Backing) -> io::Result<bool> {
    Ok(bound(device, backing)?.is_some())
}

fn bound(device: &Path, backing: Backing) -> io::Result<Option<(File, Info)>> {
    let file = match File::open(device) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match status(&file) {
        Ok(info) if info.backing() == backing => Ok(Some((file, info))),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENXIO | libc::ENOTTY)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn status(device: &File) -> io::Result<Info> {
    let mut info = Info::default();
    // SAFETY: `info` is a loop_info64 of this kernel interface, which the call fills in, and outlives
    // the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), GET_STATUS64, &raw mut info) };
    if result == 0 { Ok(info) } else { Err(io::Error::last_os_error()) }
}

fn set_status(device: &File, info: &Info) -> io::Result<()> {
    // SAFETY: `info` is a loop_info64 of this kernel interface, only read, and outlives the call.
    let result = unsafe { libc::ioctl(device.as_fd().as_raw_fd(), SET_STATUS64, &raw const *info) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

const CTL_GET_FREE: libc::Ioctl = 0x4C82;
const CONFIGURE: libc::Ioctl = 0x4C0A;
const SET_STATUS64: libc::Ioctl = 0x4C04;
const GET_STATUS64: libc::Ioctl = 0x4C05;
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

impl Info {
    fn backing(&self) -> Backing {
        Backing { device: self.device, inode: self.inode }
    }
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
