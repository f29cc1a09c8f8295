//! Session keyrings.

use std::ffi::CStr;

use rustix::io::Result;

use crate::clone::last_error;
use crate::namespace::check;

/// The serial number of a keyring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyring(i32);

/// Gives the calling process the session keyring `name`, made if there is none that it may join.
pub fn join_session(name: &CStr) -> Result<Keyring> {
    // SAFETY: the name is a C string that outlives the call.
    let serial = unsafe {
        libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr())
    };
    if serial == -1 { Err(last_error()) } else { Ok(Keyring(serial as i32)) }
}

impl Keyring {
    /// Adds bits to its permission mask.
    pub fn permit(self, bits: u32) -> Result<()> {
        let mut description = [0u8; 256];
        // SAFETY: the kernel writes at most the buffer's length.
        let length = unsafe {
            libc::syscall(
                libc::SYS_keyctl,
                libc::KEYCTL_DESCRIBE,
                self.0,
                description.as_mut_ptr(),
                description.len(),
            )
        };
        if length == -1 {
            return Err(last_error());
        }
        // `keyring;UID;GID;MASK;NAME`, the mask in hexadecimal.
        let text = &description[..(length as usize).min(description.len())];
        let mask = text.split(|&byte| byte == b';').nth(3).unwrap_or_default();
        let mask = mask
            .iter()
            .fold(0u32, |sum, &digit| sum << 4 | (digit as char).to_digit(16).unwrap_or(0));
        // SAFETY: plain numbers.
        check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_SETPERM, self.0, mask | bits) })
    }
}
