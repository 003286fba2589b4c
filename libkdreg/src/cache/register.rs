// SPDX-License-Identifier: MIT OR Apache-2.0
//! Registering where the device may be out of memory, or the cache of room.

use super::links::List;
use super::state::Request;
use super::{Handle, Inner};
use crate::errno::Errno;

impl Inner {
    /// Registers; when there is no memory, releases and evicts until there is
    /// or nothing is left to evict.
    #[inline]
    pub(super) fn register_with_room(&self, request: Request) -> Result<Handle, Errno> {
        match self.register(request.range, request.access) {
            Err(error) if error == Errno::ENOMEM => self.register_evicting(request),
            other => other,
        }
    }

    /// As `register_with_room`, when there was no room.
    #[cold]
    fn register_evicting(&self, request: Request) -> Result<Handle, Errno> {
        loop {
            let mut freed = 0;
            let waiting = self.release_backlog();
            // Something was waiting: try again before evicting.
            while waiting == 0 && freed < request.range.len() {
                let mut retired = List::EMPTY;
                let evicted = {
                    let mut state = self.state.lock();
                    // What the request supersedes goes last, but it goes.
                    state.evict_one(&self.entries, Some(request), &mut retired)
                        || state.evict_one(&self.entries, None, &mut retired)
                };
                if !evicted {
                    break;
                }
                freed += self.length_of(retired);
                self.release_now(retired);
            }
            if waiting == 0 && freed == 0 {
                return Err(Errno::ENOMEM);
            }
            match self.register(request.range, request.access) {
                Err(error) if error == Errno::ENOMEM => {}
                other => return other,
            }
        }
    }

    /// The bytes of a list of one entry.
    fn length_of(&self, list: List) -> usize {
        list.first()
            .map_or(0, |index| self.entries.at(index).range().len())
    }

    /// A registration for this caller alone, released at its put.
    pub(super) fn register_uncached(&self, slot: u32, request: Request) -> Result<u32, Errno> {
        let handle = self.register_with_room(request)?;
        let entry = self.entries.at(slot);
        entry.set(request.range, request.access, handle.0, None);
        entry.refs.publish_detached();
        let mut state = self.state.lock();
        state.counts.registrations += 1;
        state.counts.uncached += 1;
        Ok(slot)
    }
}
