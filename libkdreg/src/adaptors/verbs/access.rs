// SPDX-License-Identifier: MIT OR Apache-2.0
//! Access rights: as libibverbs has them, and as a cache compares them.
//!
//! The cache takes a hit when an entry has all the bits asked for, and makes
//! unions of bits. That is right for rights, and for nothing else: so flags
//! that change what a registration *is* are refused, and those that change
//! how it works belong to the whole cache.

use crate::errno::Errno;

/// `IBV_ACCESS_*` of `<infiniband/verbs.h>`.
pub const LOCAL_WRITE: u32 = 1;
/// See [`LOCAL_WRITE`].
pub const REMOTE_WRITE: u32 = 1 << 1;
/// See [`LOCAL_WRITE`].
pub const REMOTE_READ: u32 = 1 << 2;
/// See [`LOCAL_WRITE`].
pub const REMOTE_ATOMIC: u32 = 1 << 3;
/// See [`LOCAL_WRITE`].
pub const MW_BIND: u32 = 1 << 4;
/// See [`LOCAL_WRITE`].
pub const FLUSH_GLOBAL: u32 = 1 << 8;
/// See [`LOCAL_WRITE`].
pub const FLUSH_PERSISTENT: u32 = 1 << 9;
/// See [`LOCAL_WRITE`].
pub const RELAXED_ORDERING: u32 = 1 << 20;

/// The flags that a driver or kernel may leave out.
pub(super) const OPTIONAL: u32 = 0x3ff0_0000;

/// Each right of libibverbs, and the bit of the cache that stands for it: the
/// general ones where there is one, else one of the caller's own.
const RIGHTS: [(u32, u32); 7] = [
    (LOCAL_WRITE, 1 << 1),
    (REMOTE_READ, 1 << 2),
    (REMOTE_WRITE, 1 << 3),
    (REMOTE_ATOMIC, 1 << 4),
    (MW_BIND, 1 << 16),
    (FLUSH_GLOBAL, 1 << 17),
    (FLUSH_PERSISTENT, 1 << 18),
];

/// Every registration lets the device read; the general bit for that.
const READ: u32 = 1;

/// What a cache compares for the rights in `flags` (`IBV_ACCESS_*`).
///
/// # Errors
/// `EINVAL` for flags that are no rights.
#[inline]
pub(super) fn cached(flags: u32) -> Result<u32, Errno> {
    let mut bits = READ;
    let mut rest = flags;
    for (flag, bit) in RIGHTS {
        if flags & flag != 0 {
            bits |= bit;
            rest &= !flag;
        }
    }
    if rest == 0 {
        Ok(bits)
    } else {
        Err(Errno::EINVAL)
    }
}

/// The rights that a cache's bits stand for. Peers may write only what the
/// device may write, says libibverbs; in the general terms, one implies the
/// other.
pub(super) fn of_verbs(bits: u32) -> Result<u32, Errno> {
    let mut flags = 0;
    let mut rest = bits & !READ;
    for (flag, bit) in RIGHTS {
        if bits & bit != 0 {
            flags |= flag;
            rest &= !bit;
        }
    }
    if rest != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & (REMOTE_WRITE | REMOTE_ATOMIC) != 0 {
        flags |= LOCAL_WRITE;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_survive_the_way_there_and_back() {
        for (flag, _) in RIGHTS {
            let flags = flag | LOCAL_WRITE;
            assert_eq!(of_verbs(cached(flags).unwrap()), Ok(flags));
        }
        assert_eq!(of_verbs(cached(0).unwrap()), Ok(0));
    }

    #[test]
    fn peers_write_what_the_device_may_write() {
        assert_eq!(
            of_verbs(cached(REMOTE_WRITE).unwrap()),
            Ok(REMOTE_WRITE | LOCAL_WRITE)
        );
        assert_eq!(
            of_verbs(cached(REMOTE_READ).unwrap()),
            Ok(REMOTE_READ),
            "reading needs no right to write"
        );
    }

    #[test]
    fn what_is_no_right_is_refused() {
        let zero_based = 1 << 5;
        let on_demand = 1 << 6;
        let huge = 1 << 7;
        for flag in [zero_based, on_demand, huge, RELAXED_ORDERING, 1 << 31] {
            assert_eq!(cached(flag | LOCAL_WRITE), Err(Errno::EINVAL), "{flag:#x}");
        }
        assert_eq!(of_verbs(1 << 31), Err(Errno::EINVAL));
    }
}
