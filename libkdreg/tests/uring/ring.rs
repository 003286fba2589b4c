// SPDX-License-Identifier: MIT OR Apache-2.0
//! A minimal io_uring, by raw system calls: one request at a time.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

pub const SINGLE_ISSUER: u32 = 1 << 12;
const READ_FIXED: u8 = 4;
const WRITE_FIXED: u8 = 5;
const REGISTER_BUFFERS2: u32 = 15;
const GETEVENTS: u32 = 1;

/// struct io_uring_params, the offsets flattened.
#[repr(C)]
#[derive(Default)]
struct Params {
    sq_entries: u32,
    cq_entries: u32,
    flags: u32,
    reserved: [u32; 7],
    sq: [u32; 10],
    cq: [u32; 10],
}

/// struct io_uring_sqe.
#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Sqe {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    off: u64,
    addr: u64,
    len: u32,
    rw_flags: u32,
    user_data: u64,
    buf_index: u16,
    rest: [u16; 11],
}

/// A mapped part of the ring.
struct Area(*mut u8, usize);

impl Area {
    fn new(ring: &OwnedFd, length: usize, offset: i64) -> Area {
        // SAFETY: a new mapping.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                ring.as_raw_fd(),
                offset,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        Area(at.cast(), length)
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: inside the mapping, as the kernel said, and aligned.
        unsafe { &*self.0.add(offset as usize).cast() }
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, not used any more.
        unsafe { libc::munmap(self.0.cast(), self.1) };
    }
}

struct Queues {
    sq: Area,
    cq: Area,
    sqes: Area,
    params: Params,
}

// SAFETY: plain mappings, used under the lock.
unsafe impl Send for Queues {}

pub struct Ring {
    fd: OwnedFd,
    /// One request at a time.
    queues: Mutex<Queues>,
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Ring {
    /// `None` where io_uring is refused; it is said why.
    pub fn new(flags: u32) -> Option<Ring> {
        let mut params = Params {
            flags,
            ..Params::default()
        };
        // SAFETY: the kernel fills the structure.
        let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 8u32, &raw mut params) };
        if fd < 0 {
            println!(
                "skipped: io_uring_setup: {}",
                std::io::Error::last_os_error()
            );
            return None;
        }
        // SAFETY: a fresh descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let sq = Area::new(
            &fd,
            params.sq[6] as usize + params.sq_entries as usize * 4,
            0,
        );
        let cq = Area::new(
            &fd,
            params.cq[5] as usize + params.cq_entries as usize * 16,
            0x800_0000,
        );
        let sqes = Area::new(&fd, params.sq_entries as usize * 64, 0x1000_0000);
        let queues = Mutex::new(Queues {
            sq,
            cq,
            sqes,
            params,
        });
        Some(Ring { fd, queues })
    }

    /// Registers a table of empty slots, as an application would; the errno.
    pub fn register_table(&self, slots: u32) -> i32 {
        let empty = vec![[0u64; 2]; slots as usize];
        let table = [u64::from(slots), 0, empty.as_ptr() as u64, 0];
        // SAFETY: the table names `slots` iovecs.
        let result = unsafe {
            libc::syscall(
                libc::SYS_io_uring_register,
                self.fd.as_raw_fd(),
                REGISTER_BUFFERS2,
                table.as_ptr(),
                size_of_val(&table),
            )
        };
        if result < 0 {
            std::io::Error::last_os_error().raw_os_error().unwrap()
        } else {
            0
        }
    }

    /// Writes to or reads from the file at an offset; the request's result.
    fn transfer(
        &self,
        opcode: u8,
        file: &File,
        index: u16,
        memory: (usize, usize),
        off: u64,
    ) -> i32 {
        let queues = self.queues.lock().unwrap();
        let Queues {
            sq,
            cq,
            sqes,
            params,
        } = &*queues;
        let sqe = Sqe {
            opcode,
            fd: file.as_raw_fd(),
            off,
            addr: memory.0 as u64,
            len: memory.1 as u32,
            buf_index: index,
            ..Sqe::default()
        };
        let tail = sq.word(params.sq[1]).load(Ordering::Relaxed);
        let at = tail & (params.sq_entries - 1);
        // SAFETY: entry `at` of the mapped array, which the kernel has read.
        unsafe { sqes.0.cast::<Sqe>().add(at as usize).write(sqe) };
        sq.word(params.sq[6] + at * 4).store(at, Ordering::Relaxed);
        // Release: the kernel sees the entry before the new tail.
        sq.word(params.sq[1]).store(tail + 1, Ordering::Release);
        loop {
            let head = cq.word(params.cq[0]).load(Ordering::Relaxed);
            // Acquire: the entry is written before the tail moves.
            if head != cq.word(params.cq[1]).load(Ordering::Acquire) {
                let entry = params.cq[5] + (head & (params.cq_entries - 1)) * 16;
                let result = cq.word(entry + 8).load(Ordering::Relaxed) as i32;
                cq.word(params.cq[0]).store(head + 1, Ordering::Release);
                return result;
            }
            // SAFETY: no pointers.
            unsafe {
                libc::syscall(
                    libc::SYS_io_uring_enter,
                    self.fd.as_raw_fd(),
                    1u32,
                    1u32,
                    GETEVENTS,
                    0,
                    0,
                )
            };
        }
    }

    pub fn write(&self, file: &File, index: u16, memory: (usize, usize), off: u64) -> i32 {
        self.transfer(WRITE_FIXED, file, index, memory, off)
    }

    pub fn read(&self, file: &File, index: u16, memory: (usize, usize), off: u64) -> i32 {
        self.transfer(READ_FIXED, file, index, memory, off)
    }
}
