// SPDX-License-Identifier: MIT OR Apache-2.0
//! A way for measuring programs to reach the C functions with a backend that
//! C programs cannot ask for. Not part of the API.

use super::{handle, kdreg_t};
use crate::errno::Errno;
use crate::monitor::Monitor;

/// A handle for `monitor`, to be closed by kdreg_close().
///
/// # Errors
/// `ENOMEM`, `EMFILE`.
#[doc(hidden)]
pub fn open_monitor(monitor: Monitor) -> Result<*mut kdreg_t, Errno> {
    handle::open(monitor)
}
