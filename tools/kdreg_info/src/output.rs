// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines, JSON strings and standard output.

use std::io::{self, Write as _};

/// Appends a line to a text; that cannot fail.
macro_rules! line {
    ($text:expr, $($format:tt)*) => {{
        let _ = writeln!($text, $($format)*);
    }};
}
pub(crate) use line;

/// A JSON string.
pub fn quoted(value: &str) -> String {
    serde_json::Value::from(value).to_string()
}

/// Writes to standard output. A reader that went away, as `| head` does, is no
/// error.
pub fn print(text: &str) -> Result<(), String> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write: {error}"))
        }
        _ => Ok(()),
    }
}
