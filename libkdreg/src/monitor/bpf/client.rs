// SPDX-License-Identifier: MIT OR Apache-2.0
//! The process as a client of kdregd: enrolled once, however many backends read
//! its log.
//!
//! # Locks
//! `CURRENT`: enrolling, and ending that, one at a time; held while kdregd is
//! talked to. `readers`, inside a drain: who is to be brought up to date when
//! the ring is emptied. A reader's lock inside it.

use super::abi;
use super::enrol::{Enrolled, enrol};
use super::maps::Maps;
use super::subscribe::Subscription;
use super::wire::patience;
use crate::descriptor::File;
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::memory::Share;
use crate::monitor::change_log::{Reader, Standing};
use crate::monitor::refusal::Refusal;
use crate::pause;
use crate::process::{self, Home, PerProcess};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the module's documentation.
pub(super) struct Client {
    enrolled: Enrolled,
    /// Those who read the log, as many as there are backends.
    readers: Mutex<Vec<&'static Reader>>,
    home: Home,
}

/// The client that there is, and how many backends have it.
#[derive(Default)]
struct Current(Mutex<Option<(Share<Client>, usize)>>);

static CURRENT: PerProcess<Current> = PerProcess::new();

/// How often kdregd may say that this address space is enrolled, which it is
/// until kdregd has seen that a connection was closed; and how long to wait.
const BUSY: u32 = 20;
const NAP: Duration = Duration::from_millis(5);

/// How often a drain tries to apply the log to its end.
const ROUNDS: u32 = 256;

/// The client, enrolled if there was none or its log is dead.
pub(super) fn join() -> Result<Share<Client>, Refusal> {
    let current = CURRENT.get()?;
    let mut current = current.0.lock();
    if let Some((client, backends)) = &mut *current {
        if client.is_alive() {
            *backends += 1;
            return Ok(client.clone());
        }
    }
    // A dead one is left to those who have it.
    *current = None;
    let client = Share::new(Client::new()?)?;
    *current = Some((client.clone(), 1));
    Ok(client)
}

/// Ends what `join` began. The last one ends the client here, under the lock:
/// kdregd takes one of an address space at a time.
pub(super) fn leave(client: Share<Client>) {
    let Ok(current) = CURRENT.get() else { return };
    let mut current = current.0.lock();
    let ours = current.as_mut().filter(|(there, _)| there.ptr_eq(&client));
    if let Some((_, backends)) = ours {
        *backends -= 1;
        if *backends == 0 {
            *current = None;
        }
    }
    drop(client);
}

impl Client {
    fn new() -> Result<Client, Refusal> {
        let home = Home::here()?;
        let mut subscription = Subscription::default();
        let mut tries = 0;
        // It may say that too many are enrolling: all ranks of a node do at once.
        let limit = Instant::now() + patience()?;
        let enrolled = loop {
            match enrol(&mut subscription) {
                Err(refusal) if refusal.error == Errno::EBUSY && tries < BUSY => tries += 1,
                Err(refusal) if refusal.error == Errno::EAGAIN && Instant::now() < limit => {}
                other => break other?,
            }
            pause::sleep(NAP);
        };
        close_in_child(enrolled.connection.as_raw_fd());
        close_in_child(enrolled.ring_fd.as_raw_fd());
        Ok(Client {
            enrolled,
            readers: Mutex::new(Vec::new()),
            home,
        })
    }

    pub fn maps(&self) -> &Share<Maps> {
        &self.enrolled.maps
    }

    pub fn is_alive(&self) -> bool {
        self.enrolled.maps.are_alive()
    }

    /// Readable when there is something in the log that was not read.
    pub fn ring_fd(&self) -> RawFd {
        self.enrolled.ring_fd.as_raw_fd()
    }

    pub fn capabilities(&self) -> u64 {
        self.enrolled.capabilities
    }

    /// The mode's name.
    pub fn mode(&self) -> &'static str {
        match self.enrolled.mode {
            abi::MODE_NOTIFIER => "notifier",
            _ => "flush",
        }
    }

    /// Has a reader brought up to date whenever any is.
    pub fn add(&self, reader: &'static Reader) -> Result<(), Errno> {
        let mut readers = self.readers.lock();
        readers.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        readers.push(reader);
        Ok(())
    }

    /// Ends that.
    pub fn remove(&self, reader: &'static Reader) {
        self.readers
            .lock()
            .retain(|other| !std::ptr::eq(*other, reader));
    }

    /// Empties the ring and applies the log, for every reader: each has its events
    /// then. `false`: not to its end, and nobody is woken for the rest.
    pub fn drain(&self) -> bool {
        let readers = self.readers.lock();
        self.enrolled.ring.empty();
        let mut done = true;
        for reader in readers.iter() {
            let behind = (0..ROUNDS).all(|round| {
                if round > 0 {
                    std::thread::yield_now();
                }
                reader.catch_up() == Standing::Behind
            });
            done = done && !behind;
        }
        done
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // A child's copy is never dropped: its backends are not.
        if self.home.is_here() {
            process::keep_in_child(self.enrolled.connection.as_raw_fd());
            process::keep_in_child(self.enrolled.ring_fd.as_raw_fd());
            // Whoever else has a copy of the connection (a child made by a raw
            // clone): kdregd is told now.
            if self.enrolled.connection.is_ours() {
                // SAFETY: no pointers.
                unsafe { libc::shutdown(self.enrolled.connection.as_raw_fd(), libc::SHUT_RDWR) };
            }
        }
    }
}

/// The files of the descriptors that a child is to close. Relaxed: see
/// `process::close_in_child`, which orders them.
static FILES: [(AtomicU64, AtomicU64); 2] = [const { (AtomicU64::new(0), AtomicU64::new(0)) }; 2];

/// Has a descriptor closed in every child. Which file a connection is differs from
/// one to the next, of which there is one at a time.
fn close_in_child(fd: RawFd) {
    if let Ok(Some(file)) = File::of(fd) {
        let (place, check): (_, fn(RawFd) -> bool) = if is_socket(fd) {
            (&FILES[0], |fd| is_file(fd, &FILES[0]))
        } else {
            (&FILES[1], |fd| is_file(fd, &FILES[1]))
        };
        place.0.store(file.0, Ordering::Relaxed);
        place.1.store(file.1, Ordering::Relaxed);
        process::close_in_child(fd, check);
    }
}

/// Async-signal-safe.
fn is_file(fd: RawFd, file: &(AtomicU64, AtomicU64)) -> bool {
    let file = File(
        file.0.load(Ordering::Relaxed),
        file.1.load(Ordering::Relaxed),
    );
    File::of(fd) == Ok(Some(file))
}

fn is_socket(fd: RawFd) -> bool {
    // SAFETY: zero is a value of this plain structure, which is written.
    unsafe {
        let mut about: libc::stat = std::mem::zeroed();
        libc::fstat(fd, &raw mut about) == 0 && about.st_mode & libc::S_IFMT == libc::S_IFSOCK
    }
}
