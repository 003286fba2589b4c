// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which backend a descriptor's number was last given to.
//!
//! A check asks the kernel by number whether a change is in flight. Where the
//! application has closed a userfaultfd behind the library's back, and a later one
//! of the library's has got its number, that is asked of the wrong one, until
//! the former's handler looks around. So whoever opens one sees that nothing
//! of a former owner of the number is valid any more.

use crate::monitor::guard::Guard;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicPtr, Ordering};

/// The guards, by number. Those of numbers beyond are found out by their handlers.
static GUARDS: [AtomicPtr<Guard>; 1 << 12] =
    [const { AtomicPtr::new(std::ptr::null_mut()) }; 1 << 12];

fn place(fd: RawFd) -> Option<&'static AtomicPtr<Guard>> {
    GUARDS.get(usize::try_from(fd).ok()?)
}

/// A userfaultfd was opened under this number.
pub(super) fn claim(fd: RawFd, guard: &'static Guard) {
    if let Some(place) = place(fd) {
        // AcqRel: who finds a guard sees what it guards die after it was used.
        let former = place.swap(std::ptr::from_ref(guard).cast_mut(), Ordering::AcqRel);
        // SAFETY: null, or a guard of words, which are never freed.
        if let Some(former) = unsafe { former.as_ref() } {
            if !std::ptr::eq(former, guard) {
                former.die();
            }
        }
    }
}

/// It is about to be closed: before that, since the number may be another's at
/// once.
pub(super) fn give_up(fd: RawFd, guard: &'static Guard) {
    if let Some(place) = place(fd) {
        let own = std::ptr::from_ref(guard).cast_mut();
        let none = std::ptr::null_mut();
        let _ = place.compare_exchange(own, none, Ordering::AcqRel, Ordering::Relaxed);
    }
}
