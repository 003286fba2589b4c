// SPDX-License-Identifier: MIT OR Apache-2.0
//! An entry as the cache uses it.

use super::*;

/// What a thread calls itself: its number, as good as any.
pub fn owners() -> Owners {
    let line = |number: usize| Owner {
        identity: AtomicUsize::new(if number <= usize::from(SECOND) {
            number
        } else {
            0
        }),
        inside: AtomicUsize::new(0),
        counts: [AtomicU32::new(0)],
    };
    Owners {
        lines: [line(0), line(1), line(2), line(3)],
        places: [AtomicUsize::new(0)],
        highest: AtomicUsize::new(usize::from(SECOND)),
    }
}

/// An entry whose payload is only touched by who may touch it: loom reports
/// any access that is not ordered by the reference counts.
pub struct Entry {
    pub refs: Refs,
    pub owners: Owners,
    pub payload: UnsafeCell<u32>,
    pub released: AtomicUsize,
}

impl Entry {
    /// A live entry, owned by a thread or by none.
    pub fn live(payload: u32, owner: u8) -> Arc<Entry> {
        let entry = Entry {
            refs: Refs::new(),
            owners: owners(),
            payload: UnsafeCell::new(payload),
            released: AtomicUsize::new(0),
        };
        entry.refs.publish();
        assert_eq!(entry.refs.put(), Put::Done);
        if owner == MANY {
            assert!(entry.refs.share(entry.caller(STRANGER)));
        } else if owner != NOBODY {
            entry.refs.adopt(owner);
        }
        Arc::new(entry)
    }

    pub fn count(&self) -> u64 {
        self.refs.count(&self.owners)
    }

    pub fn in_use(&self) -> bool {
        self.refs.in_use(&self.owners)
    }

    pub fn caller(&self, me: u8) -> Caller<'_> {
        Caller {
            owners: &self.owners,
            me: sync::Me(usize::from(me)),
        }
    }

    /// What a lookup does with an entry it found.
    pub fn take(&self, me: u8) -> bool {
        if self.refs.take_own(self.caller(me), || true).is_some()
            || self.refs.take_shared(&self.owners, me, || true)
        {
            return true;
        }
        match self.refs.take() {
            Ok(()) => true,
            Err(put) => {
                self.after_put(put);
                false
            }
        }
    }

    /// What the holder of a reference may do.
    pub fn read(&self) -> u32 {
        // SAFETY: a reference was granted; loom checks that this keeps writers
        // away.
        self.payload.with(|payload| unsafe { *payload })
    }

    pub fn put(&self, me: u8) {
        if !self.refs.put_own(self.caller(me)) && !self.refs.put_shared(&self.owners, me) {
            let put = self.refs.put();
            self.after_put(put);
        }
    }

    pub fn use_it(&self, me: u8) -> Option<u32> {
        self.take(me).then(|| {
            let seen = self.read();
            self.put(me);
            seen
        })
    }

    pub fn after_put(&self, put: Put) {
        assert_ne!(put, Put::NotHeld);
        if put == Put::Detached && self.refs.claim_detached() {
            self.release();
        }
    }

    /// What eviction does, by a thread that owns nothing.
    pub fn evict(&self) -> bool {
        let evicted = self.refs.revoke_idle(self.caller(STRANGER));
        if evicted {
            self.release();
        } else {
            self.refs.reopen(NOBODY);
        }
        evicted
    }

    /// What invalidation does.
    pub fn detach(&self, me: u8) -> Detach {
        self.refs.revoke(self.caller(me));
        let outcome = self.refs.detach();
        if outcome == Detach::Claimed {
            self.release();
        }
        outcome
    }

    /// The owner of a retired entry takes the payload away.
    pub fn release(&self) {
        // SAFETY: retired entries have one owner; loom checks it.
        self.payload.with_mut(|payload| unsafe { *payload = 0 });
        self.released.fetch_add(1, Ordering::Relaxed);
    }

    /// The slot of a released entry is given to another.
    pub fn live_again(&self, payload: u32) {
        self.refs.free();
        // SAFETY: as in `release`.
        self.payload.with_mut(|place| unsafe { *place = payload });
        self.refs.publish();
        assert_eq!(self.refs.put(), Put::Done);
    }

    pub fn released(&self) -> usize {
        self.released.load(Ordering::Relaxed)
    }
}
