// SPDX-License-Identifier: MIT OR Apache-2.0
//! Having memory brought near that is going to be needed.

/// Asks the processor for the line of `address`, without waiting for it. Any
/// address will do: nothing is read, and nothing can fail. Does nothing where
/// the compiler has no stable way to say it.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; SSE is part of every x86_64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
