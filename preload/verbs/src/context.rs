// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that programs have open, and how much is seen of what they post
//! there.
//!
//! Programs post and poll by functions whose addresses are in their
//! `ibv_context`: the header's inline functions call them. They are exchanged
//! for those of `post` when the device is opened, before the program has it.

use crate::abi::{EXTENDED, Slot, ibv_context, ibv_context_ops, verbs_context};
use crate::{objects, post};
use std::ffi::{CStr, c_void};
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// How much is seen of what is posted with a device's registrations.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Sight {
    /// All of it.
    All = 0,
    /// The driver has an interface of its own, which posts unseen. Nobody is
    /// linked with it.
    Named = 1,
    /// Not all of it.
    Some = 2,
}

/// How many devices are known at a time.
const CAPACITY: usize = 64;

/// A device, and what was in the place of the functions exchanged.
pub struct Context {
    /// 0: free. Written under CHANGES; Release, for the Acquire in `find`.
    address: AtomicUsize,
    sight: AtomicU8,
    pub poll_cq: Slot,
    pub post_send: Slot,
    pub post_recv: Slot,
    pub post_srq_recv: Slot,
    pub post_srq_ops: Slot,
    pub create_wq: Slot,
}

static KNOWN: [Context; CAPACITY] = [const { Context::unused() }; CAPACITY];

/// Protects which contexts there are. Leaf.
static CHANGES: Mutex<()> = Mutex::new(());

/// What is known of a context.
pub fn find(context: *mut ibv_context) -> Option<&'static Context> {
    KNOWN
        .iter()
        .find(|known| known.address.load(Ordering::Acquire) == context as usize)
}

/// Puts `new` into the place of a function, which it returns by `old`.
fn exchange(place: &Slot, new: *mut c_void, old: &Slot) {
    let found = place.load(Ordering::Relaxed);
    if !found.is_null() && found != new {
        old.store(found, Ordering::Relaxed);
        place.store(new, Ordering::Relaxed);
    }
}

/// Undoes that, if it is still so.
fn put_back(place: &Slot, new: *mut c_void, old: &Slot) {
    if place.load(Ordering::Relaxed) == new {
        place.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// The functions of a context that are exchanged: where they are, what for, and
/// where the driver's are kept.
fn ours<'a>(
    ops: &'a ibv_context_ops,
    known: &'a Context,
) -> [(&'a Slot, *mut c_void, &'a Slot); 4] {
    [
        (&ops.poll_cq, post::poll_cq as *mut c_void, &known.poll_cq),
        (
            &ops.post_send,
            post::post_send as *mut c_void,
            &known.post_send,
        ),
        (
            &ops.post_recv,
            post::post_recv as *mut c_void,
            &known.post_recv,
        ),
        (
            &ops.post_srq_recv,
            post::post_srq_recv as *mut c_void,
            &known.post_srq_recv,
        ),
    ]
}

/// The part of `struct verbs_context` before a context, if it has this one.
fn extended(context: *mut ibv_context) -> Option<&'static verbs_context> {
    // SAFETY: an open device's context, which libibverbs allocated. Its end
    // says whether there is something before it, and how much.
    unsafe {
        if (*context).abi_compat != EXTENDED {
            return None;
        }
        let whole = context
            .byte_sub(offset_of!(verbs_context, context))
            .cast::<verbs_context>();
        let sz = (&raw const (*whole).sz).read();
        (sz >= size_of::<verbs_context>()).then(|| &*whole)
    }
}

/// A device was opened by this process, and nobody has it yet: from now on what
/// is posted is seen.
pub fn opened(context: *mut ibv_context) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(known) = find(context).or_else(|| find(std::ptr::null_mut())) else {
        // One too many: what is not known is Sight::Some.
        return;
    };
    // SAFETY: an open device's context.
    let ops = unsafe { &(*context).ops };
    for (place, ours, old) in ours(ops, known) {
        exchange(place, ours, old);
    }
    if let Some(whole) = extended(context) {
        let tags = post::post_srq_ops as *mut c_void;
        exchange(&whole.post_srq_ops, tags, &known.post_srq_ops);
        let wq = post::create_wq as *mut c_void;
        exchange(&whole.create_wq, wq, &known.create_wq);
    }
    let driver = known.post_send.load(Ordering::Relaxed) as usize;
    let sight = if driver == 0 || is_of_its_own(driver) {
        Sight::Named
    } else {
        Sight::All
    };
    known.sight.store(sight as u8, Ordering::Relaxed);
    known.address.store(context as usize, Ordering::Release);
}

/// A device is to be closed. Its memory may be another's from then on.
pub fn closing(context: *mut ibv_context) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(known) = find(context) else {
        return;
    };
    // SAFETY: open until the caller closes it.
    let ops = unsafe { &(*context).ops };
    for (place, ours, old) in ours(ops, known) {
        put_back(place, ours, old);
    }
    if let Some(whole) = extended(context) {
        let tags = post::post_srq_ops as *mut c_void;
        put_back(&whole.post_srq_ops, tags, &known.post_srq_ops);
        let wq = post::create_wq as *mut c_void;
        put_back(&whole.create_wq, wq, &known.create_wq);
    }
    for old in [
        &known.poll_cq,
        &known.post_send,
        &known.post_recv,
        &known.post_srq_recv,
        &known.post_srq_ops,
        &known.create_wq,
    ] {
        old.store(std::ptr::null_mut(), Ordering::Relaxed);
    }
    known.address.store(0, Ordering::Release);
}

impl Context {
    const fn unused() -> Context {
        Context {
            address: AtomicUsize::new(0),
            sight: AtomicU8::new(Sight::Some as u8),
            poll_cq: Slot::new(std::ptr::null_mut()),
            post_send: Slot::new(std::ptr::null_mut()),
            post_recv: Slot::new(std::ptr::null_mut()),
            post_srq_recv: Slot::new(std::ptr::null_mut()),
            post_srq_ops: Slot::new(std::ptr::null_mut()),
            create_wq: Slot::new(std::ptr::null_mut()),
        }
    }

    /// Something was made that is posted to unseen.
    pub fn lose_sight(&self) {
        self.sight.store(Sight::Some as u8, Ordering::Relaxed);
    }

    pub fn sight(&self) -> Sight {
        // Relaxed: who posts unseen has lost sight before, in the same thread
        // or in one that the deregistering thread has heard of.
        match self.sight.load(Ordering::Relaxed) {
            0 => Sight::All,
            1 => Sight::Named,
            _ => Sight::Some,
        }
    }
}

/// Something was opened by which is posted unseen to any of them.
pub fn lose_sight() {
    for known in &KNOWN {
        if known.address.load(Ordering::Acquire) != 0 {
            known.lose_sight();
        }
    }
}

/// How much is seen of what is posted with a registration of this device.
pub fn sight(context: *mut ibv_context) -> Sight {
    let Some(known) = find(context) else {
        return Sight::Some;
    };
    // Whoever exchanged them since does not call ours, perhaps.
    // SAFETY: the context of a live registration.
    let ops = unsafe { &(*context).ops };
    if ours(ops, known).iter().any(|(place, function, _)| {
        let found = place.load(Ordering::Relaxed);
        !found.is_null() && found != *function
    }) {
        known.lose_sight();
    }
    let sight = known.sight();
    let driver = known.post_send.load(Ordering::Relaxed) as usize;
    if sight == Sight::Named && (driver == 0 || somebody_needs(driver)) {
        known.lose_sight();
        return Sight::Some;
    }
    sight
}

/// Whether the driver that has this code is a library with a name, which
/// programs can be linked with, and not a plug-in of libibverbs alone.
fn is_of_its_own(driver: usize) -> bool {
    objects::find(|object| {
        object
            .has(driver)
            .then(|| object.name().is_some_and(|name| name != c"libibverbs.so.1"))
    })
    .unwrap_or(true)
}

/// Whether anything in the process was linked with the driver that has this
/// code: it may post by the driver's own interface.
fn somebody_needs(driver: usize) -> bool {
    /// The number of loads when nobody did, and the driver asked about.
    static NOBODY: AtomicU64 = AtomicU64::new(0);
    static DRIVER: AtomicUsize = AtomicUsize::new(0);
    static ASKED: AtomicBool = AtomicBool::new(false);

    let loads = objects::find(|object| Some(object.loads)).unwrap_or(0);
    // Relaxed: when two threads ask about two drivers at the same time, one of
    // them takes the other's answer for none, and asks again.
    if ASKED.load(Ordering::Acquire)
        && DRIVER.load(Ordering::Relaxed) == driver
        && NOBODY.load(Ordering::Relaxed) == loads
    {
        return false;
    }
    let mut name = [0u8; 256];
    let length = objects::find(|object| {
        object.has(driver).then(|| {
            let found = object.name().map_or(&[][..], CStr::to_bytes);
            let length = found.len().min(name.len() - 1);
            name[..length].copy_from_slice(&found[..length]);
            length
        })
    });
    let Some(length @ 1..) = length else {
        return true;
    };
    let Ok(name) = CStr::from_bytes_with_nul(&name[..=length]) else {
        return true;
    };
    if objects::find(|object| object.needs(name).then_some(())).is_some() {
        return true;
    }
    ASKED.store(false, Ordering::Release);
    DRIVER.store(driver, Ordering::Relaxed);
    NOBODY.store(loads, Ordering::Relaxed);
    ASKED.store(true, Ordering::Release);
    false
}
