// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is said to the user, on standard error.

use crate::environment::variable;
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

/// KDREG_LOG=off: say nothing but what was asked for. Read once, with the
/// settings or before them.
pub fn is_quiet() -> bool {
    static QUIET: OnceLock<bool> = OnceLock::new();
    *QUIET.get_or_init(|| {
        variable(c"KDREG_LOG").is_some_and(|value| [c"off", c"none", c"0"].contains(&value))
    })
}

/// Says it, whatever KDREG_LOG is.
pub fn line(message: fmt::Arguments<'_>) {
    // What is too long for it is cut off; there may be no memory for more.
    let mut bytes = [0; 1024];
    let mut rest = &mut bytes[..1023];
    let _ = write!(rest, "kdreg-verbs: {message}");
    let length = 1023 - rest.len();
    bytes[length] = b'\n';
    // One write, so that lines of several processes stay whole, and by its
    // number, which is no cancellation point; a closed standard error is no
    // reason to fail.
    // SAFETY: reads what was written of a local array.
    unsafe {
        libc::syscall(
            libc::SYS_write,
            libc::STDERR_FILENO,
            bytes.as_ptr(),
            length + 1,
        );
    }
}

/// Says something that is the same each time; the first of such only.
pub fn once(message: fmt::Arguments<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) && !is_quiet() {
        line(message);
    }
}

/// Says that a variable's value is none; once.
pub fn bad_value(message: fmt::Arguments<'_>) {
    static SAID: AtomicBool = AtomicBool::new(false);
    if !SAID.swap(true, Ordering::Relaxed) && !is_quiet() {
        line(message);
    }
}
