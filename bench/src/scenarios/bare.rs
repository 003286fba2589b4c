// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel imposes on a munmap that somebody is to be told of, without
//! any library: two context switches, and userfaultfd with a thread that reads
//! its events and does nothing else.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::thread::JoinHandle;
use std::time::Instant;

/// Numbers and layouts are those of linux/userfaultfd.h.
mod abi {
    #[repr(C)]
    #[derive(Default)]
    pub struct Api {
        pub api: u64,
        pub features: u64,
        pub ioctls: u64,
    }

    #[repr(C)]
    #[derive(Default)]
    pub struct Register {
        pub start: u64,
        pub length: u64,
        pub mode: u64,
        pub ioctls: u64,
    }

    /// `struct uffd_msg`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub struct Message([u64; 4]);

    pub const API: u64 = 0xaa;
    pub const USER_MODE_ONLY: i32 = 1;
    /// PAGEFAULT_FLAG_WP, EVENT_UNMAP, WP_ASYNC: what libkdreg's backend asks
    /// for, so that no fault is ever delivered.
    pub const FEATURES: u64 = 1 << 0 | 1 << 6 | 1 << 15;
    pub const MODE_WP: u64 = 1 << 1;
    pub const UFFDIO_API: libc::c_ulong = 0xc018_aa3f;
    pub const UFFDIO_REGISTER: libc::c_ulong = 0xc020_aa00;
}

fn failure(what: &str) -> String {
    format!("{what}: {}", io::Error::last_os_error())
}

/// How the thread waits for an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// In read: the least that the kernel lets one do.
    Read,
    /// In poll, then one read: what a handler does that has to do something
    /// between knowing of an event and letting go of who waits for it.
    Poll,
}

/// A userfaultfd with its thread.
pub struct Reader {
    descriptor: OwnedFd,
    stop: OwnedFd,
    waiting: Waiting,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    pub fn start(waiting: Waiting) -> Result<Reader, String> {
        let flags = abi::USER_MODE_ONLY
            | libc::O_CLOEXEC
            | match waiting {
                Waiting::Read => 0,
                Waiting::Poll => libc::O_NONBLOCK,
            };
        // SAFETY: makes a descriptor.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            return Err(failure("userfaultfd"));
        }
        // SAFETY: made just now, owned by nobody else.
        let descriptor = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let mut api = abi::Api {
            api: abi::API,
            features: abi::FEATURES,
            ..abi::Api::default()
        };
        // SAFETY: the structure that belongs to this request.
        if unsafe { libc::ioctl(descriptor.as_raw_fd(), abi::UFFDIO_API, &raw mut api) } != 0 {
            return Err(failure("UFFDIO_API"));
        }
        let stop = bell()?;
        let (fd, bell) = (descriptor.as_raw_fd(), stop.as_raw_fd());
        let thread = std::thread::spawn(move || match waiting {
            Waiting::Read => read_on(fd, bell),
            Waiting::Poll => poll_on(fd, bell),
        });
        Ok(Reader {
            descriptor,
            stop,
            waiting,
            thread: Some(thread),
        })
    }

    /// Has the thread told of what happens to a range that is mapped.
    pub fn watch(&self, start: usize, length: usize) -> Result<(), String> {
        let mut argument = abi::Register {
            start: start as u64,
            length: length as u64,
            mode: abi::MODE_WP,
            ..abi::Register::default()
        };
        let fd = self.descriptor.as_raw_fd();
        // SAFETY: the structure that belongs to this request.
        if unsafe { libc::ioctl(fd, abi::UFFDIO_REGISTER, &raw mut argument) } == 0 {
            Ok(())
        } else {
            Err(failure("UFFDIO_REGISTER"))
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        ring(self.stop.as_raw_fd(), 1);
        if self.waiting == Waiting::Read {
            // It sleeps in read and looks at the bell after an event: give it one.
            if let Ok(spot) = crate::layout::Arena::new(crate::layout::PAGE) {
                if self.watch(spot.base(), crate::layout::PAGE).is_err() {
                    // Without one it would never be joined; it is left to the end of the process.
                    self.thread = None;
                }
            }
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(fd: RawFd) -> bool {
    let mut message = abi::Message::default();
    let size = size_of_val(&message);
    // SAFETY: reads into a local structure of plain data, no more than it holds.
    unsafe { libc::read(fd, (&raw mut message).cast(), size) == size as isize }
}

fn read_on(fd: RawFd, stop: RawFd) {
    let mut polled = libc::pollfd {
        fd: stop,
        events: libc::POLLIN,
        revents: 0,
    };
    // After the read, when nobody waits for this thread any more.
    // SAFETY: polls the one descriptor described by a local structure.
    while read(fd) && unsafe { libc::poll(&raw mut polled, 1, 0) } == 0 {}
}

fn poll_on(fd: RawFd, stop: RawFd) {
    let mut polled = [fd, stop].map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: polls the two descriptors described by a local array.
    while unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) } > 0 && polled[1].revents == 0 {
        read(fd);
    }
}

fn bell() -> Result<OwnedFd, String> {
    // SAFETY: makes a descriptor.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(failure("eventfd"));
    }
    // SAFETY: made just now, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn ring(bell: RawFd, count: u64) {
    // SAFETY: 8 bytes, as an eventfd wants.
    unsafe { libc::write(bell, (&raw const count).cast(), 8) };
}

fn wait(bell: RawFd) -> u64 {
    let mut count = 0u64;
    // SAFETY: 8 bytes, as an eventfd wants.
    unsafe { libc::read(bell, (&raw mut count).cast(), 8) };
    count
}

/// A thread that rings back: two context switches there and back.
pub struct Switches {
    there: OwnedFd,
    back: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

/// What ends the thread of `Switches`.
const END: u64 = 1 << 32;

impl Switches {
    pub fn start() -> Result<Switches, String> {
        let (there, back) = (bell()?, bell()?);
        let (come, go) = (there.as_raw_fd(), back.as_raw_fd());
        let thread = std::thread::spawn(move || {
            while wait(come) < END {
                ring(go, 1);
            }
        });
        Ok(Switches {
            there,
            back,
            thread: Some(thread),
        })
    }

    /// Wakes the other thread and is woken by it; how long that took, in ns.
    pub fn there_and_back(&self) -> f64 {
        let start = Instant::now();
        ring(self.there.as_raw_fd(), 1);
        wait(self.back.as_raw_fd());
        start.elapsed().as_secs_f64() * 1e9
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        ring(self.there.as_raw_fd(), END);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
