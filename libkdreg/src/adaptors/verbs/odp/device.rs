// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a device can do on demand, and prefetching, which `<infiniband/verbs.h>`
//! calls through the device's context: libibverbs has no symbols for them.
//! `ctest/verbs/layout.c` compares the places with the header.

use super::settings::{RC, Settings, UC, UD};
use std::ffi::{c_int, c_void};

/// Of `struct ibv_context`.
const ABI_COMPAT: usize = 33 * size_of::<*const ()>() + 16 + size_of::<libc::pthread_mutex_t>();
const CONTEXT: usize = ABI_COMPAT + size_of::<usize>();
/// `abi_compat` of a context that is the end of a `struct verbs_context`.
const EXTENDED: usize = usize::MAX;
/// Pointers before the context in `struct verbs_context`.
const SZ: usize = 1;
const QUERY_DEVICE_EX: usize = 13;
const ADVISE_MR: usize = 39;

/// The beginning of `struct ibv_device_attr_ex`.
#[repr(C)]
struct DeviceAttr {
    orig_attr: [u64; 29],
    _comp_mask: u32,
    general: u64,
    rc: u32,
    uc: u32,
    ud: u32,
}

/// `struct ibv_sge`.
#[repr(C)]
struct Sge {
    addr: u64,
    length: u32,
    lkey: u32,
}

type QueryDeviceEx =
    unsafe extern "C" fn(*mut c_void, *const c_void, *mut DeviceAttr, usize) -> c_int;
type AdviseMr = unsafe extern "C" fn(*mut c_void, u32, u32, *mut Sge, u32) -> c_int;

/// `IBV_ODP_SUPPORT_*`, of `general_caps` and of each transport.
const SUPPORT: u64 = 1;
const IMPLICIT: u64 = 1 << 1;
const SEND: u32 = 1;
const RECV: u32 = 1 << 1;
const WRITE: u32 = 1 << 2;
const READ: u32 = 1 << 3;
const ATOMIC: u32 = 1 << 4;
const SRQ_RECV: u32 = 1 << 5;

/// `IBV_ACCESS_*`.
const LOCAL_WRITE: u32 = 1;
const REMOTE_WRITE: u32 = 1 << 1;
const REMOTE_READ: u32 = 1 << 2;
const REMOTE_ATOMIC: u32 = 1 << 3;
const RELAXED_ORDERING: u32 = 1 << 20;
const WRITES: u32 = LOCAL_WRITE | REMOTE_WRITE | REMOTE_ATOMIC;

/// Of `enum ib_uverbs_advise_mr_advice` and `_flag`.
const PREFETCH: u32 = 0;
const PREFETCH_WRITE: u32 = 1;
const FLUSH: u32 = 1;

/// `vendor_id` of soft-RoCE, and which word of `orig_attr` begins with it.
const SOFT_ROCE: u32 = 0x00ff_ffff;
const VENDOR: usize = 12;

/// The most bytes that one piece of advice is about.
const PIECE: usize = 1 << 30;

/// A protection domain's device.
pub struct Device {
    pd: *mut c_void,
    general: u64,
    /// By transport.
    caps: [(u32, u32); 3],
    advise: Option<AdviseMr>,
    /// Its driver copies whole pages alone right.
    pub pages_only: bool,
}

/// A function of a context; null when its libibverbs has none in this place.
///
/// # Safety
/// An open device's context.
unsafe fn function(context: *mut c_void, place: usize) -> *mut c_void {
    // SAFETY: the caller's context. Where `abi_compat` says that there is something
    // before it, `sz` says how much.
    unsafe {
        if context.byte_add(ABI_COMPAT).cast::<usize>().read() != EXTENDED {
            return std::ptr::null_mut();
        }
        let at = |place| {
            context
                .cast::<*mut c_void>()
                .sub(place)
                .cast::<usize>()
                .read()
        };
        if at(SZ) < CONTEXT + place * size_of::<*mut c_void>() {
            return std::ptr::null_mut();
        }
        at(place) as *mut c_void
    }
}

impl Device {
    /// The device of a protection domain, asked what it can.
    ///
    /// # Safety
    /// A protection domain of libibverbs, allocated while this is used.
    pub unsafe fn of(pd: *mut c_void) -> Device {
        let mut attr = DeviceAttr {
            orig_attr: [0; 29],
            _comp_mask: 0,
            general: 0,
            rc: 0,
            uc: 0,
            ud: 0,
        };
        // SAFETY: a domain's first member is its context, which is open as long as
        // the domain is; each function has its type in <infiniband/verbs.h>.
        let advise = unsafe {
            let context = pd.cast::<*mut c_void>().read();
            let query = function(context, QUERY_DEVICE_EX);
            let known = std::mem::transmute::<*mut c_void, Option<QueryDeviceEx>>(query)
                .is_some_and(|query| {
                    query(
                        context,
                        std::ptr::null(),
                        &raw mut attr,
                        size_of::<DeviceAttr>(),
                    ) == 0
                });
            if !known {
                attr.general = 0;
            }
            std::mem::transmute::<*mut c_void, Option<AdviseMr>>(function(context, ADVISE_MR))
        };
        let [a, b, c, d, ..] = attr.orig_attr[VENDOR].to_ne_bytes();
        Device {
            pd,
            pages_only: u32::from_ne_bytes([a, b, c, d]) == SOFT_ROCE,
            general: attr.general,
            caps: [(RC, attr.rc), (UC, attr.uc), (UD, attr.ud)],
            advise,
        }
    }

    /// Whether all that a registration with these flags is good for can be done on
    /// demand, over the transports that the user named.
    pub fn can(&self, settings: &Settings, flags: u32) -> bool {
        let known = WRITES | REMOTE_READ | RELAXED_ORDERING;
        if self.general & SUPPORT == 0 || flags & !known != 0 {
            return false;
        }
        let mut needed = SEND | WRITE;
        if flags & LOCAL_WRITE != 0 {
            // Reads and atomic operations put their answers there.
            needed |= RECV | SRQ_RECV | READ | ATOMIC;
        }
        if flags & REMOTE_READ != 0 {
            needed |= READ;
        }
        if flags & REMOTE_ATOMIC != 0 {
            needed |= ATOMIC;
        }
        self.caps.iter().all(|&(transport, caps)| {
            let has = match transport {
                RC => needed,
                UC => needed & (SEND | RECV | SRQ_RECV | WRITE),
                _ => needed & (SEND | RECV | SRQ_RECV),
            };
            settings.transports & transport == 0 || caps & has == has
        })
    }

    /// Whether one registration can be for all addresses. A peer who had its key
    /// could reach them all: for rights of this process's own only.
    pub fn can_be_implicit(&self, flags: u32) -> bool {
        self.general & IMPLICIT != 0 && flags & !(LOCAL_WRITE | RELAXED_ORDERING) == 0
    }

    /// Has the pages there, and known to the device, when it returns.
    ///
    /// # Errors
    /// What the device or its kernel says, as an errno.
    pub fn prefetch(&self, addr: usize, length: usize, lkey: u32, flags: u32) -> Result<(), c_int> {
        let Some(advise) = self.advise else {
            return Err(libc::EOPNOTSUPP);
        };
        let advice = if flags & WRITES == 0 {
            PREFETCH
        } else {
            PREFETCH_WRITE
        };
        let mut done = 0;
        while done < length {
            let piece = (length - done).min(PIECE);
            let mut sge = Sge {
                addr: (addr + done) as u64,
                length: piece as u32,
                lkey,
            };
            // SAFETY: its type in <infiniband/verbs.h>; one range, which the
            // device or the kernel checks.
            let error = unsafe { advise(self.pd, advice, FLUSH, &raw mut sge, 1) };
            if error != 0 {
                return Err(error.saturating_abs());
            }
            done += piece;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::OFF;
    use super::*;

    const NONE: Device = Device {
        pd: std::ptr::null_mut(),
        general: SUPPORT,
        caps: [(RC, 0), (UC, 0), (UD, 0)],
        advise: None,
        pages_only: false,
    };

    #[test]
    fn all_that_the_rights_allow_must_be_possible() {
        let mut device = NONE;
        device.caps = [(RC, SEND | WRITE), (UC, 0), (UD, SEND)];
        assert!(device.can(&OFF, 0));
        assert!(!device.can(&OFF, LOCAL_WRITE));
        assert!(!device.can(&OFF, REMOTE_READ));
        device.caps[0].1 = SEND | RECV | WRITE | READ | ATOMIC | SRQ_RECV;
        assert!(!device.can(&OFF, LOCAL_WRITE), "UD cannot receive");
        device.caps[2].1 = SEND | RECV | SRQ_RECV;
        assert!(device.can(&OFF, LOCAL_WRITE | REMOTE_WRITE | REMOTE_ATOMIC));
        assert!(!device.can(&OFF, 1 << 4), "windows are not on demand");
        assert!(!device.can(&OFF, 1 << 8), "nor are flushes");
        device.general = 0;
        assert!(!device.can(&OFF, 0));
    }

    #[test]
    fn no_peer_gets_a_key_to_everything() {
        let mut device = NONE;
        assert!(!device.can_be_implicit(0));
        device.general |= IMPLICIT;
        assert!(device.can_be_implicit(LOCAL_WRITE));
        for flag in [REMOTE_READ, REMOTE_WRITE, REMOTE_ATOMIC] {
            assert!(!device.can_be_implicit(flag));
        }
    }
}
