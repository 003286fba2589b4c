// SPDX-License-Identifier: MIT OR Apache-2.0
//! Caches that share limits: what one of them needs, idle entries of all of them
//! make room for, the least recently used first.
//!
//! # What is counted
//! What each member counts against its own limits: entries that can be found, and
//! room promised to registrations under way. A member promises room within its
//! own limits first, and registers only when a look at all members, each under
//! its own lock and all under the group's, found the sum within the limits. A
//! promise is given under the lock of its cache alone, so the sum may be above
//! the limits while it is looked at, but never by what is registered: of two that
//! promised the last room, the one that looks second sees both.
//!
//! # Order
//! A cache's stamps are its own threads' clocks (`clock`). Whenever one of the
//! members makes room, the clocks of all go on from the latest of any: what was
//! used before is older in each of them than what is used after. Between two
//! such moments uses of different caches are not told apart; those of one are.
//!
//! # Locks
//! `Pool::members`, then one `state` at a time, never two. Both are let go before
//! a callback is called. So two caches may evict in each other at once.
//!
//! # Ends
//! Whoever is about to deregister what was evicted from a member visits it
//! ([`Visit`]): a cache that leaves is not visited any more, and waits for its
//! visitors. A visitor waits for nothing but the member's callbacks, and those
//! may not destroy a cache of the group (`EDEADLK`): nobody waits in a circle.

mod eviction;

use super::Inner;
use crate::errno::Errno;
use crate::lock::{Condvar, Mutex};
use crate::memory::Share;
use crate::process::Home;
use std::fmt;

/// The limits of a [`Group`]. The default is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupOptions {
    /// The most entries kept in all its caches; 0: no limit.
    pub max_entries: usize,
    /// The most bytes kept registered by all its caches; 0: no limit.
    pub max_bytes: usize,
    /// No more bytes than the process may lock (`RLIMIT_MEMLOCK`) when the group
    /// is made.
    pub memlock: bool,
}

/// Limits that several caches share: those that are made with it in their
/// options, until they are dropped.
///
/// Thread-safe; a share: clones are the same group. In a forked child every call
/// fails with `ECHILD`.
#[derive(Clone)]
pub struct Group {
    pool: Share<Pool>,
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({:p})", self.pool.as_ptr())
    }
}

/// What a group's caches share.
struct Pool {
    max_entries: usize,
    max_bytes: usize,
    home: Home,
    /// The caches, and who visits them. See the module's documentation.
    members: Mutex<Vec<Member>>,
    /// Signalled when a visit is over.
    over: Condvar,
}

/// A cache in its group.
struct Member {
    cache: Share<Inner>,
    /// Threads at work in it on behalf of others.
    visitors: usize,
    /// It is not visited any more.
    leaving: bool,
    /// While a victim is sought: no idle entry was used before this.
    bound: u64,
}

/// The bytes that the process may lock.
fn lockable() -> usize {
    let mut limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: writes a local variable.
    unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

impl Group {
    /// A group without caches.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn new(options: &GroupOptions) -> Result<Group, Errno> {
        let or_none = |limit| if limit == 0 { usize::MAX } else { limit };
        let most = if options.memlock {
            lockable()
        } else {
            usize::MAX
        };
        let pool = Share::new(Pool {
            max_entries: or_none(options.max_entries),
            max_bytes: or_none(options.max_bytes).min(most),
            home: Home::here()?,
            members: Mutex::new(Vec::new()),
            over: Condvar::new(),
        })?;
        Ok(Group { pool })
    }

    /// Evicts idle entries of all caches, the least recently used first, until so
    /// many bytes have been deregistered or none is left; returns how many
    /// entries.
    pub fn evict(&self, bytes: usize) -> Result<usize, Errno> {
        self.pool.home.check()?;
        Ok(self.pool.evict(bytes))
    }

    /// `EBUSY` while there are caches in it.
    pub(crate) fn may_be_destroyed(&self) -> Result<(), Errno> {
        self.pool.home.check()?;
        if self.pool.members.lock().is_empty() {
            Ok(())
        } else {
            Err(Errno::EBUSY)
        }
    }

    /// Has a cache share the limits.
    pub(super) fn join(&self, cache: &Share<Inner>) -> Result<(), Errno> {
        self.pool.home.check()?;
        let mut members = self.pool.members.lock();
        members.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        members.push(Member {
            cache: cache.clone(),
            visitors: 0,
            leaving: false,
            bound: 0,
        });
        Ok(())
    }

    /// Takes a cache out; when this returns, nobody is at work in it on behalf of
    /// others. Not to be called from a callback of a cache of the group.
    pub(super) fn leave(&self, cache: &Share<Inner>) {
        let mut members = self.pool.members.lock();
        if let Some(member) = find(&mut members, cache) {
            member.leaving = true;
        }
        while find(&mut members, cache).is_some_and(|member| member.visitors > 0) {
            members = self.pool.over.wait(members);
        }
        members.retain(|member| !member.is(cache));
    }

    /// Whether a cache is in it.
    pub(super) fn has(&self, cache: *const Inner) -> bool {
        let members = self.pool.members.lock();
        members.iter().any(|member| member.cache.as_ptr() == cache)
    }
}

impl Member {
    fn is(&self, cache: &Inner) -> bool {
        std::ptr::eq(self.cache.as_ptr(), cache)
    }
}

fn find<'m>(members: &'m mut [Member], cache: &Inner) -> Option<&'m mut Member> {
    members.iter_mut().find(|member| member.is(cache))
}

/// A member that the calling thread is at work in: it is not destroyed meanwhile.
struct Visit<'p> {
    pool: &'p Pool,
    /// There until it is dropped.
    cache: Option<Share<Inner>>,
}

impl<'p> Visit<'p> {
    /// Begins one, with the members' lock held.
    fn new(pool: &'p Pool, member: &mut Member) -> Visit<'p> {
        member.visitors += 1;
        Visit {
            pool,
            cache: Some(member.cache.clone()),
        }
    }

    fn cache(&self) -> &Inner {
        self.cache.as_ref().expect("there until it is dropped")
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let Some(cache) = self.cache.take() else {
            return;
        };
        let mut members = self.pool.members.lock();
        if let Some(member) = find(&mut members, &cache) {
            member.visitors -= 1;
        }
        // Our share goes first: whoever waits for us must be the last.
        drop(cache);
        drop(members);
        self.pool.over.notify_all();
    }
}

#[cfg(test)]
mod tests;
