// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON, as far as it is written here.

use std::fmt::Write as _;

/// A JSON string.
pub fn quoted(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            control if (control as u32) < 0x20 => {
                let _ = write!(text, "\\u{:04x}", control as u32);
            }
            other => text.push(other),
        }
    }
    text.push('"');
    text
}
