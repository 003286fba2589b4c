// SPDX-License-Identifier: MIT OR Apache-2.0
//! The caches that the reaper works in, and the names of what it waits for.

use super::Inner;
use crate::errno::Errno;
use crate::memory::Share;

#[derive(Default)]
pub(super) struct Caches {
    /// In the order in which they were made. The address of a cache's insides is
    /// also its name in epoll.
    pub(super) all: Vec<Share<Inner>>,
    /// The one being reaped.
    pub(super) busy: Option<u64>,
}

impl Caches {
    pub(super) fn add(&mut self, cache: &Share<Inner>) -> Result<(), Errno> {
        self.all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        self.all.push(cache.clone());
        Ok(())
    }

    pub(super) fn take_over(&mut self, former: &mut Caches) -> Result<(), Errno> {
        let count = former.all.len();
        self.all.try_reserve(count).map_err(|_| Errno::ENOMEM)?;
        self.all.append(&mut former.all);
        Ok(())
    }

    pub(super) fn remove(&mut self, cache: &Share<Inner>) {
        self.all.retain(|other| !other.ptr_eq(cache));
    }

    pub(super) fn named(&self, sought: u64) -> Option<Share<Inner>> {
        self.all.iter().find(|cache| name(cache) == sought).cloned()
    }
}

/// The name of `cache` in epoll.
pub(super) fn name(cache: &Share<Inner>) -> u64 {
    cache.as_ptr() as u64
}

/// The name of the stop descriptor in epoll: no address is 0.
pub(super) const STOP: u64 = 0;

/// The name of the status page's requests: no cache begins at an odd address.
pub(super) const STATUS: u64 = 1;
