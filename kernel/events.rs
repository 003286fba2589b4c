// SPDX-License-Identifier: GPL-2.0-only

//! The events of one descriptor: read, discarded, waited for.

use crate::{abi::*, context::Context, space::STEP};
use kernel::{bindings, fs::File, prelude::*};

/// Events that read() hands over at a time.
const READ_EVENTS: usize = 16;

impl Context {
    /// Reads up to `count` events, handing them to `tell` a few at a time; `tell` returns how many
    /// of them reached the client. Returns how many did in total; EFAULT when none did. Waits for
    /// the first one unless `nonblocking`.
    pub(crate) fn read(
        &self,
        count: usize,
        nonblocking: bool,
        mut tell: impl FnMut(&[Kdreg2Event]) -> usize,
    ) -> Result<usize> {
        let mut events = [Kdreg2Event::default(); READ_EVENTS];
        let mut done = 0;
        while done < count {
            let mut regions = self.lock();
            if done == 0 && !regions.has_events() {
                drop(regions);
                if nonblocking {
                    return Err(EAGAIN);
                }
                self.member().events.wait(|| self.lock().has_events())?;
                // Another reader may be faster.
                continue;
            }
            let room = (count - done).min(READ_EVENTS);
            let mut taken = regions.take_events(&mut events[..room]);
            drop(regions);
            let wanted = taken.len();
            if wanted == 0 {
                break;
            }
            let told = tell(&events[..wanted]);

            let mut regions = self.lock();
            regions.finish_events(&mut taken, told as u32);
            done += told;
            if told < wanted {
                // Nothing is lost; and somebody else may have gone to sleep meanwhile.
                regions.return_events(taken);
                drop(regions);
                self.member().events.wake();
                if done == 0 {
                    return Err(EFAULT);
                }
                break;
            }
        }
        Ok(done)
    }

    /// FLUSH: discards all pending events.
    pub(crate) fn flush(&self) {
        let mut taken = self.lock().take_all_events();
        while !taken.is_empty() {
            let before = taken.len();
            self.lock().finish_events(&mut taken, STEP);
            if taken.len() == before {
                break;
            }
        }
    }

    /// Whether an event is pending; registers the poller first, so that it misses none.
    ///
    /// # Safety
    ///
    /// As for [`Waiters::poll`].
    ///
    /// [`Waiters::poll`]: crate::waiters::Waiters::poll
    pub(crate) unsafe fn poll(&self, file: &File, table: *mut bindings::poll_table_struct) -> bool {
        // SAFETY: As the caller promises.
        unsafe { self.member().events.poll(file, table) };
        self.lock().has_events()
    }
}
