// SPDX-License-Identifier: MIT OR Apache-2.0
//! The child's side: enrolling, and reading the log it gets.

use crate::kernel::programs::Mode;
use anyhow::{Context, Result, bail};
use kdreg::monitor::bpf::abi::{self, Message};
use nix::cmsg_space;
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::socket::{self, ControlMessageOwned, MsgFlags, UnixAddr};
use std::io::IoSliceMut;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

/// A log and the guard, mapped for as long as the process lives.
pub struct Enrolled {
    log: usize,
    guard: usize,
    capacity: u64,
}

/// How far a log was, and what the guard said.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    tail: u64,
    guard: u64,
}

fn receive<M: Message>(socket: BorrowedFd<'_>) -> Result<(M, Vec<OwnedFd>)> {
    let mut bytes = vec![0u8; abi::MESSAGE_MAX];
    let mut space = cmsg_space!([RawFd; 8]);
    let (length, descriptors) = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = socket::recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let mut descriptors = Vec::new();
        for control in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(fds) = control {
                // SAFETY: the kernel has just made them for us.
                let owned = fds
                    .into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
                descriptors.extend(owned);
            }
        }
        (message.bytes, descriptors)
    };
    if let Some(message) = M::from_bytes(&bytes[..length]) {
        return Ok((message, descriptors));
    }
    if let Some(refused) = abi::Refused::from_bytes(&bytes[..length]) {
        let end = refused.text.iter().position(|byte| *byte == 0).unwrap_or(0);
        bail!("{}", String::from_utf8_lossy(&refused.text[..end]));
    }
    bail!("no answer, or one that is malformed")
}

fn send<M: Message>(socket: BorrowedFd<'_>, message: &M) -> Result<()> {
    socket::send(
        socket.as_raw_fd(),
        message.as_bytes(),
        MsgFlags::MSG_NOSIGNAL,
    )?;
    Ok(())
}

fn map(fd: &OwnedFd, length: u64) -> Result<usize> {
    let length = NonZeroUsize::new(length as usize).context("of no length")?;
    // SAFETY: a mapping of its own, where the kernel sees fit.
    let at = unsafe {
        mmap(
            None,
            length,
            ProtFlags::PROT_READ,
            MapFlags::MAP_SHARED,
            fd,
            0,
        )
    };
    Ok(at.context("cannot map")?.as_ptr() as usize)
}

impl Enrolled {
    /// Enrols.
    pub fn enrol(socket: BorrowedFd<'_>, mode: Mode) -> Result<Enrolled> {
        send(
            socket,
            &abi::Hello {
                header: abi::Hello::header(),
                version: abi::VERSION,
                capacity: 0,
                flags: 0,
            },
        )?;
        let (challenge, _) = receive::<abi::Challenge>(socket)?;
        send(
            socket,
            &abi::Proof {
                header: abi::Proof::header(),
                nonce: challenge.nonce,
                mode: mode.number(),
                reserved: 0,
            },
        )?;
        let (grant, descriptors) = receive::<abi::Grant>(socket)?;
        let [log, guard, _ring] = &descriptors[..] else {
            bail!("{} descriptors came with the grant", descriptors.len());
        };
        Ok(Enrolled {
            log: map(log, grant.log_bytes)?,
            guard: map(guard, grant.guard_bytes)?,
            capacity: u64::from(grant.capacity),
        })
    }

    /// A word of the log.
    fn word(&self, offset: usize) -> u64 {
        // SAFETY: mapped as long as the process lives, aligned, and within the
        // log's length, which follows from its capacity. Only programs write to
        // it, whole words. Acquire: pairs with the writer's barriers.
        unsafe { &*((self.log + offset) as *const AtomicU64) }.load(Ordering::Acquire)
    }

    /// How far the log is now.
    pub fn mark(&self) -> Mark {
        Mark {
            tail: self.word(0),
            // SAFETY: as for the log.
            guard: unsafe { &*(self.guard as *const AtomicU64) }.load(Ordering::Acquire),
        }
    }

    /// Whether a client who looks now would know that all of `range` has changed
    /// since; `Err`: why it would not.
    pub fn knows(&self, since: Mark, range: &Range<usize>) -> Result<(), String> {
        let now = self.mark();
        if now.guard != since.guard || (now.tail | since.tail) & abi::LOG_DEAD != 0 {
            // Then it takes nothing for valid.
            return Ok(());
        }
        if now.tail - since.tail > self.capacity {
            return Ok(());
        }
        let mut missing = range.start;
        let mut entries = self.entries(since.tail..now.tail)?;
        entries.sort_by_key(|entry| entry.start);
        for entry in &entries {
            if entry.start > missing {
                break;
            }
            missing = missing.max(entry.end);
        }
        if missing >= range.end {
            return Ok(());
        }
        Err(format!(
            "{} of {} bytes not logged ({} entries were)",
            range.end - missing,
            range.len(),
            entries.len()
        ))
    }

    /// Whether a client would think that something of `range` has changed since.
    pub fn suspects(&self, since: Mark, range: &Range<usize>) -> Result<bool, String> {
        let now = self.mark();
        let entries = self.entries(since.tail..now.tail)?;
        Ok(entries
            .iter()
            .any(|entry| entry.start < range.end && range.start < entry.end))
    }

    fn entries(&self, numbers: Range<u64>) -> Result<Vec<Range<usize>>, String> {
        numbers
            .map(|n| {
                let at =
                    abi::LOG_ENTRIES + (n % self.capacity) as usize * size_of::<abi::LogEntry>();
                let [sequence, start, end] = [0, 8, 16].map(|offset| self.word(at + offset));
                if sequence == 2 * n + 2 {
                    Ok(start as usize..end as usize)
                } else {
                    Err(format!("entry {n} is not finished"))
                }
            })
            .collect()
    }
}

/// The descriptor that the child is started with.
pub fn inherited() -> OwnedFd {
    // SAFETY: kdregd puts it there (trial.rs), and nobody else here reads it.
    let socket = unsafe { OwnedFd::from_raw_fd(SOCKET) };
    // Not for its own children.
    let _ = nix::fcntl::fcntl(
        socket.as_fd(),
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    );
    socket
}

/// Its number.
pub const SOCKET: RawFd = 3;
