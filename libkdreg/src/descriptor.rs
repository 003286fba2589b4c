// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptors of the library's, which the application may close behind its back.
//!
//! Programs do: close_range(3, ~0U) before they become a daemon or start a worker.
//! The numbers are then given out again, to files of the application's or to this
//! library for something else. So a descriptor that is not what it was any more
//! is neither closed nor written to.

use crate::cancellation::held_off;
use crate::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file, as far as the kernel tells one from another: device and inode. All
/// anonymous ones (eventfd, epoll) are alike.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct File(pub u64, pub u64);

impl File {
    /// What `fd` is; `None`: nothing, by `EBADF`. An error: the kernel does not
    /// say. Never waits, not for a file on a network either.
    pub fn of(fd: RawFd) -> Result<Option<File>, Errno> {
        // SAFETY: zero is a value of this plain structure.
        let mut about: libc::statx = unsafe { std::mem::zeroed() };
        // SAFETY: an empty path, and a local variable that is written.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_statx,
                fd,
                c"".as_ptr(),
                libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC,
                libc::STATX_INO,
                &raw mut about,
            )
        } != 0;
        if !failed {
            let device = u64::from(about.stx_dev_major) << 32 | u64::from(about.stx_dev_minor);
            return Ok(Some(File(device, about.stx_ino)));
        }
        match Errno::last() {
            Errno::EBADF => Ok(None),
            error => Err(error),
        }
    }
}

/// Which opening of the library's a number was last given to. Beyond these
/// numbers only the file tells. Relaxed: whoever finds its own serial stored it
/// itself, or was given the descriptor by who did.
static LATEST: [AtomicU32; 1 << 14] = [const { AtomicU32::new(0) }; 1 << 14];

/// Serials: never 0, and not the same for two descriptors that are open at once.
static SERIAL: AtomicU32 = AtomicU32::new(0);

/// The number of a descriptor, and which opening had it: for those who use it
/// and do not own it. All zero: no descriptor's.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Number {
    pub fd: RawFd,
    serial: u32,
}

impl Number {
    /// Whether the library has not given the number to another opening since.
    pub fn is_latest(self) -> bool {
        latest(self.fd).is_none_or(|latest| latest.load(Ordering::Relaxed) == self.serial)
    }
}

/// A descriptor that is closed when it is dropped, if it is still what it was.
pub(crate) struct Descriptor {
    number: Number,
    /// `None`: the kernel does not say.
    file: Option<File>,
}

impl Descriptor {
    /// Takes over a fresh descriptor that nobody else owns. Its number may change.
    pub fn new(fd: RawFd) -> Descriptor {
        let fd = above_standard(fd);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed) | 1 << 31;
        if let Some(latest) = latest(fd) {
            latest.store(serial, Ordering::Relaxed);
        }
        Descriptor {
            number: Number { fd, serial },
            file: File::of(fd).unwrap_or(None),
        }
    }

    pub fn number(&self) -> Number {
        self.number
    }

    /// Whether it is still what it was. An anonymous file of the application's
    /// own that has the number now is not told from it.
    pub fn is_ours(&self) -> bool {
        self.number.is_latest()
            && match (self.file, File::of(self.number.fd)) {
                (_, Ok(None)) => false,
                (Some(then), Ok(Some(now))) => then == now,
                (None, _) | (_, Err(_)) => true,
            }
    }
}

/// The same under a number that is none of standard input, output and error, unless there
/// is no other. A program that has closed those writes to them all the same: what it
/// says would go to kdregd, say, and end it by SIGPIPE when that has hung up.
fn above_standard(fd: RawFd) -> RawFd {
    if fd > libc::STDERR_FILENO {
        return fd;
    }
    // SAFETY: no pointers.
    let other = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) };
    if other < 0 {
        return fd;
    }
    // A cancellation point.
    // SAFETY: fresh, and nobody else's.
    held_off(|| unsafe { libc::close(fd) });
    other
}

fn latest(fd: RawFd) -> Option<&'static AtomicU32> {
    LATEST.get(usize::try_from(fd).ok()?)
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.number.fd
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open as long as this lives, as far as it is this library's to
        // say.
        unsafe { BorrowedFd::borrow_raw(self.number.fd) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        if self.is_ours() {
            // A cancellation point, wherever the last owner is.
            // SAFETY: it is ours, and not used after this.
            held_off(|| unsafe { libc::close(self.number.fd) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eventfd() -> RawFd {
        // SAFETY: no pointers.
        unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) }
    }

    #[test]
    fn what_is_another_s_by_now_is_left_alone() {
        let ours = Descriptor::new(eventfd());
        assert!(ours.is_ours());
        let fd = ours.as_raw_fd();
        let own = c"/dev/null";
        // SAFETY: the number becomes another file's, as if it had been closed
        // and opened anew; then it is closed.
        unsafe {
            let file = libc::open(own.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
            libc::dup2(file, fd);
            assert!(!ours.is_ours());
            drop(ours);
            assert!(libc::fcntl(fd, libc::F_GETFD) >= 0);
            libc::close(file);
            libc::close(fd);
        }
    }

    #[test]
    fn standard_error_stays_closed() {
        // SAFETY: the child calls what may be called in one, and ends at once.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                let fine = (0..=2).all(|standard| {
                    libc::close(standard);
                    let ours = Descriptor::new(eventfd());
                    ours.as_raw_fd() > 2 && libc::fcntl(standard, libc::F_GETFD) < 0
                });
                libc::_exit(i32::from(!fine));
            }
            let mut status = -1;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            assert_eq!(status, 0);
        }
    }

    #[test]
    fn a_number_is_the_latest_s() {
        let former = Descriptor::new(eventfd());
        // As if it had been closed, and given to an opening of ours.
        let later = Descriptor::new(former.as_raw_fd());
        assert!(!former.is_ours() && later.is_ours());
        drop(former);
        assert!(later.is_ours());
    }
}
