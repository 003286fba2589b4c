// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg becomes libfabric's memory monitor.

use crate::{kdreg, statistics};

/// Imports libkdreg, in the first call of a process.
pub(crate) fn import_once() {
    if !statistics::first_call() {
        return;
    }
    let mut import = std::ptr::null_mut();
    // SAFETY: no options, and a place for the result.
    let error = unsafe { kdreg::kdreg_fabric_import(std::ptr::null(), &raw mut import) };
    statistics::imported(import, error);
}
