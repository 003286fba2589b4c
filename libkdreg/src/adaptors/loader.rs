// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the dynamic loader says when it refuses.

use crate::errno::Errno;
use crate::memory::try_vec;
use std::ffi::{CStr, c_char, c_void};
use std::fmt::{self, Write};

/// A text in whatever encoding, for people; written without allocating.
pub(super) struct Text<'a>(&'a CStr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.to_bytes().utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

impl<'a> From<&'a CStr> for Text<'a> {
    fn from(text: &'a CStr) -> Text<'a> {
        Text(text)
    }
}

/// Opens a library; null when it is refused. A loader that lacks memory for a
/// moment may say that there is no such library: so it is asked again.
pub(super) fn open(dlopen: impl Fn() -> *mut c_void) -> *mut c_void {
    let handle = dlopen();
    if handle.is_null() { dlopen() } else { handle }
}

/// What the calling thread's last failure in the loader comes to: `ENOMEM`, or
/// what `say` makes of the loader's reason.
pub(super) fn refused(say: impl FnOnce(Text<'_>) -> Errno) -> Errno {
    // SAFETY: null, or a C string that lasts until this thread uses the loader
    // again. `say` may, once it is done with the reason.
    let reason = unsafe {
        let text = libc::dlerror();
        if text.is_null() {
            c"the dynamic loader gives no reason"
        } else {
            CStr::from_ptr(text)
        }
    };
    if is_lack_of_memory(reason) || try_vec::<u8>(ABOUT_AS_MUCH).is_err() {
        return Errno::ENOMEM;
    }
    say(reason.into())
}

/// What opening a library allocates, or so: where there is not that much, whatever
/// the loader says is for lack of memory.
const ABOUT_AS_MUCH: usize = 16 << 10;

/// The loader gives its reason as text only, in the user's language: that of the
/// errno is at its end. Without memory to make one, it is a fixed one.
fn is_lack_of_memory(reason: &CStr) -> bool {
    let mut known: [c_char; 128] = [0; 128];
    // SAFETY: writes a C string into a local array of that size.
    let known = unsafe {
        libc::strerror_r(libc::ENOMEM, known.as_mut_ptr(), known.len());
        CStr::from_ptr(known.as_ptr())
    };
    reason.to_bytes().starts_with(b"out of memory")
        || !known.is_empty() && reason.to_bytes().ends_with(known.to_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lack_of_memory_is_told_from_other_reasons() {
        assert!(is_lack_of_memory(c"out of memory"));
        assert!(is_lack_of_memory(
            c"out of memory: No such file or directory"
        ));
        assert!(is_lack_of_memory(
            c"libx.so.1: cannot create shared object descriptor: Cannot allocate memory"
        ));
        assert!(!is_lack_of_memory(c"libx.so.1: file too short"));
        assert!(!is_lack_of_memory(c""));
    }

    #[test]
    fn a_reason_in_another_encoding_is_shown_as_far_as_it_can_be() {
        assert_eq!(Text(c"a\xffb").to_string(), "a\u{fffd}b");
    }
}
