// SPDX-License-Identifier: GPL-2.0-only

//! What a client asks to be monitored, checked.

use crate::{abi::*, wanted::Wanted};
use kernel::prelude::*;

/// A region to be monitored.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    /// First byte.
    pub(crate) start: u64,
    /// Last byte, not before the first.
    pub(crate) last: u64,
    /// The client's name for it.
    pub(crate) cookie: u64,
    pub(crate) wanted: Wanted,
}

impl Request {
    /// Checks what the client asks for.
    #[inline(always)]
    pub(crate) fn new(
        addr: u64,
        length: u64,
        cookie: u64,
        changes: u32,
        flags: u32,
    ) -> Result<Self> {
        let wanted = Wanted::new(changes, flags).ok_or(EINVAL)?;
        let further = length.checked_sub(1).ok_or(EINVAL)?;
        let last = addr.checked_add(further).ok_or(EINVAL)?;
        if cookie == KDREG2_BAD_COOKIE_VALUE {
            return Err(EINVAL);
        }
        Ok(Self {
            start: addr,
            last,
            cookie,
            wanted,
        })
    }

    /// The same for an entry of a batch.
    #[inline(always)]
    pub(crate) fn of(entry: &KdregMonitorEntry) -> Result<Self> {
        Self::new(
            entry.addr,
            entry.length,
            entry.cookie,
            entry.changes,
            entry.flags,
        )
    }
}
