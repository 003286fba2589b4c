// SPDX-License-Identifier: GPL-2.0-only

//! What a client asks to be monitored, checked.

use crate::{abi::*, addresses::Addresses, change_mask::ChangeMask};
use kernel::prelude::*;

/// A region to be monitored.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// First byte; an address of user space without its tag.
    pub(crate) start: u64,
    /// Last byte, not before the first.
    pub(crate) last: u64,
    /// The tag of the address as the client gave it.
    pub(crate) tag: u8,
    pub(crate) mask: ChangeMask,
    /// The client's name for it.
    pub(crate) cookie: u64,
}

impl Request {
    /// Checks what the client asks for. EINVAL for an empty range and for one that is not in
    /// `addresses`, for the one bad cookie, and for changes and flags that do not exist.
    #[inline(always)]
    pub(crate) fn new(
        addresses: Addresses,
        addr: u64,
        length: u64,
        cookie: u64,
        changes: u32,
        flags: u32,
    ) -> Result<Self> {
        let mask = ChangeMask::new(changes, flags).ok_or(EINVAL)?;
        let start = addresses.untag(addr);
        let further = length.wrapping_sub(1);
        if further >= addresses.from(start) || cookie == KDREG2_BAD_COOKIE_VALUE {
            return Err(EINVAL);
        }
        Ok(Self {
            start,
            last: start.wrapping_add(further),
            tag: Addresses::tag(addr),
            mask,
            cookie,
        })
    }

    /// The same for an entry of a batch.
    #[inline(always)]
    pub(crate) fn of(addresses: Addresses, entry: &KdregMonitorEntry) -> Result<Self> {
        Self::new(
            addresses,
            entry.addr,
            entry.length,
            entry.cookie,
            entry.changes,
            entry.flags,
        )
    }
}
