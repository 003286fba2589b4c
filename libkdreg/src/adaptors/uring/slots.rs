// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which slots of the table are free.

use crate::errno::Errno;
use crate::lock::Mutex;
use crate::memory::try_vec;
use std::sync::atomic::{AtomicBool, Ordering};

/// The slots of one adaptor.
pub(super) struct Slots {
    /// Never held across a system call or an allocation: both lists have
    /// their room from the start.
    lists: Mutex<Lists>,
    /// Whether `stale` has something in it. Relaxed: who misses the news
    /// finds it at the next look.
    any_stale: AtomicBool,
}

/// What the lock protects.
struct Lists {
    free: Vec<u32>,
    /// Deregistered, but not emptied yet: the kernel would not take that from
    /// the thread that tried.
    stale: Vec<u32>,
}

impl Slots {
    /// `count` free slots from `first` on. `ENOMEM`.
    pub fn new(first: u32, count: u32) -> Result<Slots, Errno> {
        let mut free = try_vec(count as usize)?;
        // The lowest is taken first.
        free.extend((first..first + count).rev());
        Ok(Slots {
            lists: Mutex::new(Lists {
                free,
                stale: try_vec(count as usize)?,
            }),
            any_stale: AtomicBool::new(false),
        })
    }

    /// A free slot; `ENOMEM`, which has the cache evict, when there is none.
    pub fn take(&self) -> Result<u32, Errno> {
        self.lists.lock().free.pop().ok_or(Errno::ENOMEM)
    }

    /// Puts an empty slot back.
    pub fn give(&self, slot: u32) {
        self.lists.lock().free.push(slot);
    }

    /// Notes a slot that is still to be emptied.
    pub fn give_stale(&self, slot: u32) {
        self.lists.lock().stale.push(slot);
        self.any_stale.store(true, Ordering::Relaxed);
    }

    /// A slot that is to be emptied, for the caller to do.
    pub fn take_stale(&self) -> Option<u32> {
        let mut lists = self.lists.lock();
        let slot = lists.stale.pop();
        self.any_stale
            .store(!lists.stale.is_empty(), Ordering::Relaxed);
        slot
    }

    /// Whether there may be a slot to empty.
    #[inline]
    pub fn any_stale(&self) -> bool {
        self.any_stale.load(Ordering::Relaxed)
    }

    /// Whether every slot holds a buffer.
    pub fn all_taken(&self) -> bool {
        let lists = self.lists.lock();
        lists.free.is_empty() && lists.stale.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hands_out_each_slot_once_lowest_first() {
        let slots = Slots::new(8, 3).unwrap();
        assert_eq!([8, 9, 10], [(); 3].map(|()| slots.take().unwrap()));
        assert_eq!(slots.take(), Err(Errno::ENOMEM));
        assert!(slots.all_taken());
        slots.give(9);
        assert_eq!(slots.take(), Ok(9));
    }

    #[test]
    fn a_stale_slot_is_not_free_until_it_is_emptied() {
        let slots = Slots::new(0, 1).unwrap();
        let slot = slots.take().unwrap();
        slots.give_stale(slot);
        assert!(slots.any_stale() && !slots.all_taken());
        assert_eq!(slots.take(), Err(Errno::ENOMEM));
        assert_eq!(slots.take_stale(), Some(0));
        assert!(!slots.any_stale());
        slots.give(slot);
        assert_eq!(slots.take(), Ok(0));
    }
}
