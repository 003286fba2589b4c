// SPDX-License-Identifier: MIT OR Apache-2.0
//! Handles: what C callers hold instead of pointers to objects.
//!
//! A handle is the address of a slot in an array that is never unmapped and
//! is wiped in forked children. So any value a caller passes can be checked
//! before it is believed: outside the array or between slots, never opened,
//! closed since (`EBADF`), or inherited through fork (`ECHILD`).

use crate::cache::{self, Cache};
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::memory;
use crate::monitor::Monitor;
use crate::process::PerProcess;
use crate::race_detector;
use crate::reservation::{OnFork, Reservation, Zeroed};
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Handles open at a time, in one line of forks.
const MAX_HANDLES: usize = 65_536;

/// Closed handles are not given out again before this many others were closed.
const QUARANTINE: usize = 1024;

/// One handle. All zero, as a forked child finds it: closed.
#[repr(C, align(64))]
pub(crate) struct Slot {
    /// Which type `object` is, and which opening this is: (sequence << 8) | type.
    /// Release when opened, Acquire when resolved: publishes `object`.
    identity: AtomicU64,
    object: AtomicPtr<()>,
    /// Of an open cache, what a hit needs of it. Release and Acquire, as
    /// `identity`.
    cache: AtomicPtr<cache::Inner>,
    /// Closed: the number, plus one, of the slot that was closed next; 0: none
    /// was. Relaxed: under `Closed`'s lock.
    next: AtomicU32,
}

// SAFETY: atomics; zero is a closed handle; the object is dropped by `close`.
unsafe impl Zeroed for Slot {}
// SAFETY: as for AtomicU32.
unsafe impl Zeroed for AtomicU8 {}

/// The slots, for ever and for every process of a line of forks.
struct Table {
    slots: Reservation<Slot>,
    /// The type that was open in a slot when it was last looked at from the
    /// process that opened it. Not wiped: tells a child that a handle was its
    /// parent's.
    inherited: Reservation<AtomicU8>,
    /// Slots used so far, by this process and those it was forked from.
    fresh: AtomicU32,
}

/// Closed slots of this process, oldest first. In the slots themselves: closing
/// needs no memory.
#[derive(Default)]
struct Closed(Mutex<Queue>);

/// First and last, plus one each; 0: there are none.
#[derive(Default)]
struct Queue {
    first: u32,
    last: u32,
    length: usize,
}

impl Queue {
    fn push(&mut self, table: &Table, index: u32) {
        table.slots.at(index).next.store(0, Ordering::Relaxed);
        match self.last {
            0 => self.first = index + 1,
            last => table
                .slots
                .at(last - 1)
                .next
                .store(index + 1, Ordering::Relaxed),
        }
        self.last = index + 1;
        self.length += 1;
    }

    fn pop(&mut self, table: &Table) -> Option<u32> {
        let index = self.first.checked_sub(1)?;
        self.first = table.slots.at(index).next.load(Ordering::Relaxed);
        if self.first == 0 {
            self.last = 0;
        }
        self.length -= 1;
        Some(index)
    }
}

static CLOSED: PerProcess<Closed> = PerProcess::new();

/// Sequence numbers, never repeated.
static SEQUENCE: AtomicU64 = AtomicU64::new(1);

// Not a OnceLock: a child forked while it is being filled would wait for a
// thread it does not have.
static TABLE: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

#[inline]
fn table() -> Result<&'static Table, Errno> {
    // Acquire: pairs with the Release in `make`.
    let table = TABLE.load(Ordering::Acquire);
    if table.is_null() {
        return make_table();
    }
    // SAFETY: once published, never freed.
    Ok(unsafe { &*table })
}

/// The table where a race detector has to be told of each call. `TABLE` is null
/// then, so that it costs nothing where there is none.
static TOLD: AtomicPtr<Table> = AtomicPtr::new(std::ptr::null_mut());

#[cold]
fn make_table() -> Result<&'static Table, Errno> {
    if !race_detector::is_present() {
        let table = make(&TABLE)?;
        FIRST.store(table.slots.pointer(0), Ordering::Relaxed);
        return Ok(table);
    }
    race_detector::pass_on();
    // Acquire: pairs with the Release in `make`.
    let table = TOLD.load(Ordering::Acquire);
    if table.is_null() {
        return make(&TOLD);
    }
    // SAFETY: once published, never freed.
    Ok(unsafe { &*table })
}

fn make(place: &AtomicPtr<Table>) -> Result<&'static Table, Errno> {
    let slots = Reservation::new(MAX_HANDLES, OnFork::Zero)?;
    slots.commit(QUICK)?;
    // All of it, a byte each: whatever slot is asked about has one (`refusal`).
    let inherited = Reservation::new(MAX_HANDLES, OnFork::Copy)?;
    inherited.commit(MAX_HANDLES)?;
    let fresh = Box::into_raw(memory::try_box(Table {
        slots,
        inherited,
        fresh: AtomicU32::new(0),
    })?);
    let null = std::ptr::null_mut();
    match place.compare_exchange(null, fresh, Ordering::Release, Ordering::Acquire) {
        // SAFETY: published just now, never freed.
        Ok(_) => Ok(unsafe { &*fresh }),
        // SAFETY: ours was not published; the winner's is never freed.
        Err(winner) => unsafe {
            drop(Box::from_raw(fresh));
            Ok(&*winner)
        },
    }
}

/// Slots that a hit reads without asking whether they are the table's: more than are
/// closed and not given out again, so that few programs have a cache in another.
const QUICK: usize = 2 * QUARANTINE;

/// The first of these. Relaxed: they are there before it is set, and never unmapped.
static FIRST: AtomicPtr<Slot> = AtomicPtr::new((&raw const CLOSED_FOR_EVER).cast_mut().cast());

/// What is looked at before there is a table, and where a race detector has to be told
/// of each call.
static CLOSED_FOR_EVER: [Slot; QUICK] = [const {
    Slot {
        identity: AtomicU64::new(0),
        object: AtomicPtr::new(std::ptr::null_mut()),
        cache: AtomicPtr::new(std::ptr::null_mut()),
        next: AtomicU32::new(0),
    }
}; QUICK];

/// How far after `FIRST` a handle is, in bytes.
#[inline(always)]
fn offset_from_first(handle: *const super::kdreg_cache_t) -> usize {
    let mut offset = handle as usize;
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a relaxed load of `FIRST`, which is aligned. In one step with what is done
    // with it, as the compiler does not make it of an atomic.
    unsafe {
        std::arch::asm!("sub {}, qword ptr [rip + {}]", inlateout(reg) offset, sym FIRST, options(nostack, readonly, pure));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        offset = offset.wrapping_sub(FIRST.load(Ordering::Relaxed) as usize);
    }
    offset
}

/// What a hit needs of the cache behind a handle, where nothing speaks against it.
#[inline(always)]
pub(crate) fn quick_cache(handle: *const super::kdreg_cache_t) -> Option<&'static cache::Inner> {
    const {
        assert!(QUICK.is_power_of_two() && size_of::<Slot>().is_power_of_two());
    }
    // Bits that the offset of none of them has: one comparison tells all.
    if offset_from_first(handle) & !((QUICK - 1) * size_of::<Slot>()) != 0 {
        return None;
    }
    // SAFETY: one of the QUICK slots that `FIRST` is the first of, which are accessible.
    let inner = unsafe { &*handle.cast::<Slot>() }
        .cache
        .load(Ordering::Acquire);
    // SAFETY: null, or the inner part of the cache that is open: as in `resolve`.
    unsafe { inner.as_ref() }
}

/// What handles can stand for.
///
/// # Safety
/// `TYPE` is nonzero and belongs to one implementor only.
pub(crate) unsafe trait Object: Sync + 'static {
    const TYPE: u8;
    /// The opaque C type of its handles.
    type Opaque;
    /// The cache that it is.
    fn cache(&self) -> Option<&cache::Inner> {
        None
    }
}

// SAFETY: 1 is the monitor's.
unsafe impl Object for Monitor {
    const TYPE: u8 = 1;
    type Opaque = super::kdreg_t;
}

// SAFETY: 2 is the cache's.
unsafe impl Object for Cache {
    const TYPE: u8 = 2;
    type Opaque = super::kdreg_cache_t;
    fn cache(&self) -> Option<&cache::Inner> {
        Some(self.inner())
    }
}

/// A handle for `object`.
pub(crate) fn open<T: Object>(object: T) -> Result<*mut T::Opaque, Errno> {
    let table = table()?;
    let closed = CLOSED.get()?;
    let object = memory::try_box(object)?;
    let index = take_slot(table, closed)?;
    let slot = table.slots.at(index);
    if let Some(cache) = object.cache() {
        let cache = std::ptr::from_ref(cache).cast_mut();
        slot.cache.store(cache, Ordering::Release);
    }
    slot.object
        .store(Box::into_raw(object).cast(), Ordering::Relaxed);
    table.inherited.at(index).store(T::TYPE, Ordering::Relaxed);
    let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    slot.identity
        .store(sequence << 8 | u64::from(T::TYPE), Ordering::Release);
    Ok(std::ptr::from_ref(slot).cast_mut().cast())
}

/// A slot that is nobody's.
fn take_slot(table: &Table, closed: &Closed) -> Result<u32, Errno> {
    {
        let mut closed = closed.0.lock();
        if closed.length > QUARANTINE {
            if let Some(index) = closed.pop(table) {
                return Ok(index);
            }
        }
    }
    // Before a number is taken: one that is given out has memory. Others that
    // do the same at once take the next ones.
    let mut fresh = table.fresh.load(Ordering::Relaxed);
    while (fresh as usize) < MAX_HANDLES {
        table.slots.commit(fresh as usize + 1)?;
        // Relaxed: only uniqueness is needed.
        match table
            .fresh
            .compare_exchange(fresh, fresh + 1, Ordering::Relaxed, Ordering::Relaxed)
        {
            Ok(_) => return Ok(fresh),
            Err(now) => fresh = now,
        }
    }
    closed.0.lock().pop(table).ok_or(Errno::EMFILE)
}

/// The slot a handle names, if it names one.
fn slot<T: Object>(
    table: &'static Table,
    handle: *const T::Opaque,
) -> Option<(u32, &'static Slot)> {
    let index = table.slots.index_of(handle.cast())?;
    Some((index, table.slots.at(index)))
}

/// Why a slot does not hold an open `T`.
#[cold]
fn refusal<T: Object>(table: &Table, slot: &Slot) -> Errno {
    let wiped = slot.identity.load(Ordering::Relaxed) == 0;
    let was_open = table
        .slots
        .index_of(slot)
        .is_some_and(|index| table.inherited.at(index).load(Ordering::Relaxed) == T::TYPE);
    if wiped && was_open {
        Errno::ECHILD
    } else {
        Errno::EBADF
    }
}

/// The object behind a handle.
///
/// The reference is good until the handle is closed, which callers must not
/// do while another thread uses it.
#[inline]
pub(crate) fn resolve<T: Object>(handle: *const T::Opaque) -> Result<&'static T, Errno> {
    if handle.is_null() {
        return Err(Errno::EINVAL);
    }
    let table = table()?;
    let slot = table.slots.find(handle.cast()).ok_or(Errno::EBADF)?;
    if slot.identity.load(Ordering::Acquire) as u8 != T::TYPE {
        return Err(refusal::<T>(table, slot));
    }
    // SAFETY: a slot of this type holds a pointer to a T from `open`, which
    // `close` frees only after the identity is cleared; callers do not close
    // a handle that another thread is using.
    Ok(unsafe { &*slot.object.load(Ordering::Relaxed).cast::<T>() })
}

/// A number for an open handle that no later handle will have.
pub(crate) fn identity<T: Object>(handle: *const T::Opaque) -> Result<u64, Errno> {
    let table = table()?;
    let (index, slot) = slot::<T>(table, handle).ok_or(Errno::EBADF)?;
    // 48 bits of sequence: a million openings a second for nine years.
    Ok((slot.identity.load(Ordering::Relaxed) >> 8) << 16 | u64::from(index))
}

/// The object whose handle has this identity, while it is open.
#[inline]
pub(crate) fn by_identity<T: Object>(identity: u64) -> Option<&'static T> {
    let table = table().ok()?;
    let index = identity as u16;
    if usize::from(index) >= table.slots.committed() {
        return None;
    }
    let slot = table.slots.at(u32::from(index));
    let expected = (identity >> 16) << 8 | u64::from(T::TYPE);
    if slot.identity.load(Ordering::Acquire) != expected {
        return None;
    }
    // SAFETY: as in `resolve`.
    Some(unsafe { &*slot.object.load(Ordering::Relaxed).cast::<T>() })
}

/// Closes a handle and gives its object back, unless `may_close` refuses.
pub(crate) fn close<T: Object>(
    handle: *const T::Opaque,
    may_close: impl FnOnce(&T) -> Result<(), Errno>,
) -> Result<T, Errno> {
    may_close(resolve::<T>(handle)?)?;
    let table = table()?;
    let (index, slot) = slot::<T>(table, handle).ok_or(Errno::EBADF)?;
    let identity = slot.identity.load(Ordering::Relaxed);
    // Of two threads that close, one gets the object.
    let mine = slot
        .identity
        .compare_exchange(
            identity,
            CLOSED_IDENTITY,
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .is_ok();
    if !mine || identity as u8 != T::TYPE {
        return Err(Errno::EBADF);
    }
    slot.cache.store(std::ptr::null_mut(), Ordering::Relaxed);
    let object = slot.object.load(Ordering::Relaxed).cast::<T>();
    // SAFETY: from `open`; the exchange made it ours alone.
    let object = *unsafe { Box::from_raw(object) };
    table.inherited.at(index).store(0, Ordering::Relaxed);
    // Without the list (no memory for it) the slot stays unused.
    if let Ok(closed) = CLOSED.get() {
        closed.0.lock().push(table, index);
    }
    Ok(object)
}

/// The identity of a closed handle: no type has the number 0. Not all zero,
/// so that a child can tell it from a wiped one.
const CLOSED_IDENTITY: u64 = 1 << 8;

#[cfg(test)]
mod tests;
