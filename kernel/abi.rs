// SPDX-License-Identifier: GPL-2.0-only

//! The device interface as the kernel side needs it: the structures of
//! `uapi.rs`, allowed across the user boundary.

#[allow(unreachable_pub)]
#[path = "uapi.rs"]
mod uapi;

use kernel::transmute::{AsBytes, FromBytes};

pub(crate) use uapi::*;

macro_rules! plain_data {
    ($($name:ident),* $(,)?) => {$(
        // SAFETY: The structure consists of integers, so every bit pattern is valid, and it has no
        // interior mutability.
        unsafe impl FromBytes for $name {}
        // SAFETY: The structure consists of integers and `uapi.rs` asserts that their sizes add
        // up: there is no padding to be uninitialised, and no interior mutability.
        unsafe impl AsBytes for $name {}
    )*};
}

plain_data!(
    Kdreg2ConfigData,
    Kdreg2IoctlMonitor,
    Kdreg2IoctlUnmonitor,
    Kdreg2Event,
    KdregFeatures,
    KdregBatch,
    KdregMonitorEntry,
    KdregUnmonitorEntry,
);
