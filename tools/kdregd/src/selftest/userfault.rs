// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages that a userfaultfd moves.

use super::absent::{Absent, result};
use super::change::Expected::{self, Logged};
use super::memory::{self, MIDDLE, Memory};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// linux/userfaultfd.h.
mod uffd {
    #[repr(C)]
    pub struct Api {
        pub api: u64,
        pub features: u64,
        pub ioctls: u64,
    }
    #[repr(C)]
    pub struct Register {
        pub start: u64,
        pub length: u64,
        pub mode: u64,
        pub ioctls: u64,
    }
    #[repr(C)]
    pub struct Move {
        pub target: u64,
        pub source: u64,
        pub length: u64,
        pub mode: u64,
        pub moved: i64,
    }
    nix::ioctl_readwrite!(api, 0xaa, 0x3f, Api);
    nix::ioctl_readwrite!(register, 0xaa, 0x00, Register);
    nix::ioctl_readwrite!(move_pages, 0xaa, 0x05, Move);
}

/// Moves the pages in the middle of a block to elsewhere.
pub fn user_move(memory: &mut Memory) -> Result<Expected, Absent> {
    let range = memory.range(MIDDLE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    let rights = libc::PROT_READ | libc::PROT_WRITE;
    let target = memory::map(0, range.len(), rights, flags, None)?;
    // UFFD_USER_MODE_ONLY, so that anybody may.
    // SAFETY: plain numbers.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, libc::O_CLOEXEC | 1) };
    result(fd, "userfaultfd")?;
    // SAFETY: the kernel has just made it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    let mut api = uffd::Api {
        api: 0xaa,
        features: 1 << 16,
        ioctls: 0,
    };
    let mut register = uffd::Register {
        start: target as u64,
        length: range.len() as u64,
        mode: 1,
        ioctls: 0,
    };
    let mut order = uffd::Move {
        target: target as u64,
        source: range.start as u64,
        length: range.len() as u64,
        mode: 0,
        moved: 0,
    };
    // SAFETY: the structures of linux/userfaultfd.h; memory of this test.
    let done = unsafe {
        uffd::api(fd.as_raw_fd(), &mut api)
            .and_then(|_| uffd::register(fd.as_raw_fd(), &mut register))
            .and_then(|_| uffd::move_pages(fd.as_raw_fd(), &mut order))
    };
    done.map_err(|error| Absent(format!("UFFDIO_MOVE: {error}")))?;
    Ok(Logged(range))
}
