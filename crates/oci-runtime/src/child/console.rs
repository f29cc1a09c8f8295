//! A terminal from the container's own devpts.

use std::os::fd::AsFd;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, open as open_file, openat2};
use rustix::io::Errno;
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use stowd_sys::exec::place_fd;
use stowd_sys::mount_attr::Reach;

use super::inside::make_file;
use super::mounts::{attach, clone_of};
use super::{During, Outcome, Step};
use crate::plan::Plan;
use crate::sync::Caller;

const DEVPTS_SUPER_MAGIC: i64 = 0x1cd1;

/// Opens a terminal, hands its master over, and makes it the controlling one and 0, 1 and 2.
fn open_terminal(plan: &Plan, binds_console: bool, caller: Caller<'_>) -> Result<(), Errno> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = open_file(c"/dev/pts/ptmx", flags, Mode::empty())?;
    // An image could have put something else there, which would then get all input.
    if fstatfs(&master)?.f_type as i64 != DEVPTS_SUPER_MAGIC {
        return Err(Errno::NOTTY);
    }
    unlockpt(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = ioctl_tiocgptpeer(&master, flags)?;
    if let Some((rows, columns)) = plan.streams.size {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&terminal, size)?;
    }
    if binds_console {
        let root = open_file(c"/", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        make_file(root.as_fd(), c"/dev/console")?;
        // A link would have the terminal cover something else, such as what is to be protected.
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
        let place = openat2(&root, c"dev/console", flags, Mode::empty(), resolve)?;
        attach(clone_of(terminal.as_fd(), Reach::One)?.as_fd(), place.as_fd())?;
    }
    caller.console(master.as_fd())?;
    drop(master);
    ioctl_tiocsctty(&terminal)?;
    for number in 0..3 {
        place_fd(&terminal, number)?;
    }
    Ok(())
}

pub(super) fn open(plan: &Plan, binds_console: bool, caller: Caller<'_>) -> Outcome {
    open_terminal(plan, binds_console, caller).during(Step::Console)
}
