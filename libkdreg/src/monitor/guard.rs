// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guard word of an asynchronous backend.
//!
//! The thread that changed a mapping is let go when its event is *read*, not
//! when it has been handled. The handler therefore makes the guard odd before
//! it reads, and even again after every state word is bumped. A check that
//! starts after the changing call returned sees either the odd guard, and
//! waits, or the even one that follows, and with it the bumped words.

use crate::sync::{AtomicU32, Ordering, fence};

/// The value of a guard whose handler is gone: nothing is valid any more.
/// Odd, so that a check of the low bit alone already fails.
const DEAD: u32 = u32::MAX;

/// A sequence count: odd while events are being taken in.
#[repr(transparent)]
pub(crate) struct Guard(AtomicU32);

/// What a check may conclude from the guard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    /// Every event read so far is in the state words.
    Settled,
    /// Events are being taken in: ask again.
    Busy,
    /// The handler is gone.
    Dead,
}

impl Guard {
    pub fn new() -> Guard {
        Guard(AtomicU32::new(0))
    }

    /// The handler is about to read events. One handler at a time.
    pub fn enter(&self) {
        // Relaxed load: only the handler counts. A failed exchange means that
        // `die` came in between, which must last.
        let count = self.0.load(Ordering::Relaxed);
        if count != DEAD {
            let _ = self
                .0
                .compare_exchange(count, count | 1, Ordering::Relaxed, Ordering::Relaxed);
        }
        // Orders the store before the read(2) that releases the changing
        // thread. Pairs with the kernel's wake-up, through which that thread,
        // and whoever synchronises with it, sees the odd count.
        fence(Ordering::SeqCst);
    }

    /// Everything read since `enter` is in the state words.
    pub fn leave(&self) {
        let count = self.0.load(Ordering::Relaxed);
        if count == DEAD {
            return;
        }
        let mut even = count.wrapping_add(1) & !1;
        if even == DEAD - 1 {
            even = 0; // so that no odd count is ever taken for DEAD
        }
        // Release: pairs with the Acquire in `standing`; who sees this even
        // count sees the words bumped before it. A failed exchange means that
        // `die` came in between, which must last.
        let _ = self
            .0
            .compare_exchange(count, even, Ordering::Release, Ordering::Relaxed);
    }

    /// Back to life, for the next monitor that uses this word.
    pub fn renew(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// The handler is gone, for good.
    pub fn die(&self) {
        // An exchange, not a store, so that it has a place among those above.
        self.0.swap(DEAD, Ordering::Release);
    }

    /// To be asked *before* the state word is loaded: asked after it, an
    /// event handled in between would go unnoticed.
    #[inline]
    pub fn standing(&self) -> Standing {
        // Acquire: pairs with the Release in `leave`.
        let count = self.0.load(Ordering::Acquire);
        if count & 1 == 0 {
            Standing::Settled
        } else if count == DEAD {
            Standing::Dead
        } else {
            Standing::Busy
        }
    }
}
