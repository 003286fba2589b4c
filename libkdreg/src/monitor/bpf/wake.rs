// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring that makes a descriptor readable when something was logged.
//!
//! A program that has logged looks whether the ring holds a record, and adds one
//! if it holds none: what is in the records means nothing. So whoever wants to
//! be woken again empties the ring *before* it reads the log: a change is either
//! in what is read then, or its program finds the ring empty.

use super::mapping::{Mapping, Use};
use crate::errno::Errno;
use crate::range::page_size;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// The two positions of a BPF_MAP_TYPE_RINGBUF, mapped.
pub(super) struct Ring {
    /// A page of the reader's own, with the position up to which it has read.
    consumer: Mapping,
    /// The writers' page, with the position up to which they have written.
    producer: Mapping,
}

impl Ring {
    /// Maps the positions; the data is not looked at.
    pub fn new(fd: BorrowedFd<'_>) -> Result<Ring, Errno> {
        Ok(Ring {
            consumer: Mapping::new(fd, 0, page_size(), Use::ReadAndWrite)?,
            producer: Mapping::new(fd, page_size(), page_size(), Use::Read)?,
        })
    }

    /// Empties it.
    pub fn empty(&self) {
        // SAFETY: any bytes are an atomic word.
        let [consumer, producer] = [&self.consumer, &self.producer]
            .map(|mapping| unsafe { &mapping.at::<AtomicU64>(0, 1)[0] });
        // Acquire and Release: as a ring's reader does; no record is looked at.
        consumer.store(producer.load(Ordering::Acquire), Ordering::Release);
        // Between this store and the caller's load of the log's tail. Pairs with
        // the full barrier with which a program moves the tail before it looks
        // into the ring: one of the two sees what the other did.
        fence(Ordering::SeqCst);
    }
}
