// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether a driver may be reached by another way than libibverbs's.

use crate::objects;
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Whether the driver that has this code is a library with a name, which
/// programs can be linked with, and not a plug-in of libibverbs alone.
pub fn is_of_its_own(driver: usize) -> bool {
    objects::find(|object| {
        object
            .has(driver)
            .then(|| object.name().is_some_and(|name| name != c"libibverbs.so.1"))
    })
    .unwrap_or(true)
}

/// Whether anything in the process was linked with the driver that has this
/// code: it may post by the driver's own interface.
pub fn somebody_needs(driver: usize) -> bool {
    /// The number of loads when nobody did, and the driver asked about.
    static NOBODY: AtomicU64 = AtomicU64::new(0);
    static DRIVER: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicBool = AtomicBool::new(false);

    let loads = objects::find(|object| Some(object.loads)).unwrap_or(0);
    // Relaxed: when two threads ask about two drivers at the same time, one of
    // them takes the other's answer for none, and asks again.
    if ASKED.load(Ordering::Acquire)
        && DRIVER.load(Ordering::Relaxed) == driver
        && NOBODY.load(Ordering::Relaxed) == loads
    {
        return false;
    }
    let mut name = [0u8; 256];
    let length = objects::find(|object| {
        object.has(driver).then(|| {
            let found = object.name().map_or(&[][..], CStr::to_bytes);
            let length = found.len().min(name.len() - 1);
            name[..length].copy_from_slice(&found[..length]);
            length
        })
    });
    let Some(length @ 1..) = length else {
        return true;
    };
    let Ok(name) = CStr::from_bytes_with_nul(&name[..=length]) else {
        return true;
    };
    if objects::find(|object| object.needs(name).then_some(())).is_some() {
        return true;
    }
    ASKED.store(false, Ordering::Release);
    DRIVER.store(driver, Ordering::Relaxed);
    NOBODY.store(loads, Ordering::Relaxed);
    ASKED.store(true, Ordering::Release);
    false
}
