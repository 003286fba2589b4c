// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cache's beginning and end: who works in it besides its callers.

use super::bypass::Bypass;
use super::frames::inside_any;
use super::{Cache, reaper};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::race_detector::take_over;
use crate::unwinding;

impl Cache {
    /// Has others work in it: its own thread, the reaper, and the caches of its
    /// group.
    pub(super) fn begin(&self) -> Result<(), Errno> {
        self.inner.state.lock().ahead.begin();
        if let Some(group) = &self.inner.options.group {
            group.join(&self.inner)?;
        }
        if !self.inner.options.no_reaper {
            reaper::add(&self.inner)?;
        }
        Ok(())
    }

    /// Drops every entry; returns how many. Entries in use are released at
    /// their last put, and registrations under way are treated as by
    /// [`Cache::invalidate`]. What other threads had begun to release has been
    /// deregistered, too, except when called in a callback of any cache.
    pub fn flush(&self) -> Result<usize, Errno> {
        self.inner.home.check()?;
        let dropped = self.inner.release_all();
        // Whoever flushes to end what is registered in, such as a protection
        // domain, is refused while anything still is.
        if !inside_any() {
            self.inner.wait_for_others();
            take_over();
        }
        self.inner.call(|| self.inner.registrar.emptied(false));
        // What was learnt was about what is gone.
        self.inner.state.lock().bypass = Bypass::new();
        self.inner.monitor.let_go(true);
        Ok(dropped)
    }

    /// Whether dropping the cache now is safe: `EBUSY` while entries are held
    /// by callers that leaked their [`Held`], as the C face does, or are still to
    /// be handed to them; `EDEADLK`
    /// inside a callback of the cache, or of its group, which dropping would wait for.
    pub(crate) fn may_be_destroyed(&self) -> Result<(), Errno> {
        let inner = &*self.inner;
        inner.home.check()?;
        if inner.waits_for_callback() {
            return Err(Errno::EDEADLK);
        }
        // In this order: what is handed over is in use before it is not owed any more.
        if inner.owes_ahead() {
            return Err(Errno::EBUSY);
        }
        // Where it is in use it may be by the cache's own thread, which has just
        // made it to be found, and puts it back.
        let in_use = || inner.any_in_use();
        if in_use() && inner.while_it_holds_nothing(in_use) {
            return Err(Errno::EBUSY);
        }
        Ok(())
    }

    /// As `may_be_destroyed`, once it is empty: where it is not to be, it is used on.
    pub(crate) fn may_be_closed(&self) -> Result<(), Errno> {
        self.may_be_destroyed().inspect_err(|_| self.begin_again())
    }

    /// Drops and releases everything, with no help of the reaper's from now on.
    ///
    /// # Errors
    /// `ESCAPED`: a callback did not return. What is left is the reaper's, as
    /// before.
    pub(crate) fn empty(&self) -> Result<(), Errno> {
        self.inner.end_ahead();
        let reaped = !self.inner.options.no_reaper;
        if reaped {
            reaper::remove(&self.inner);
        }
        if let Some(group) = &self.inner.options.group {
            group.leave(&self.inner);
        }
        self.inner.release_all();
        if !unwinding::is_held() {
            self.inner.call(|| self.inner.registrar.emptied(true));
            return Ok(());
        }
        self.begin_again();
        Err(Errno::ESCAPED)
    }

    /// Has others work in it again, which is not destroyed after all.
    #[cold]
    fn begin_again(&self) {
        if let Err(error) = self.begin() {
            log::say(
                Level::Warn,
                format_args!(
                    "a cache that is not destroyed yet has no reaper any more, or no group: {error}"
                ),
            );
        }
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        if self.inner.home.is_here() {
            let _ = self.empty();
        }
    }
}
