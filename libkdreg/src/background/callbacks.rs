// SPDX-License-Identifier: MIT OR Apache-2.0
//! What callbacks leave in a thread of the library's that calls them.

use crate::cancellation;
use crate::log::{self, Level};
use crate::unwinding;

/// In a thread of the library's nobody waits for an exception, and none is
/// cancelled, whatever a callback said. Whether there was one. `thread` is which it
/// is, for people.
pub(crate) fn end_exception(thread: &str) -> bool {
    cancellation::never();
    let ended = unwinding::discard_exception();
    if ended {
        log::say(
            Level::Warn,
            format_args!("an exception left a callback in {thread}, where it ends"),
        );
    }
    ended
}
