// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs post and poll by functions whose addresses are in their
//! `ibv_context`: the header's inline functions call them. They are exchanged
//! for those of `post` when the device is opened, before the program has it.

use crate::abi::{EXTENDED, Slot, ibv_context, ibv_context_ops, verbs_context};
use crate::context::{Context, Sight, find};
use crate::{driver, keys, post};
use std::ffi::c_void;
use std::mem::offset_of;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// Protects which contexts there are. Leaf.
static CHANGES: Mutex<()> = Mutex::new(());

/// Puts `new` into the place of a function, which it returns by `old`.
pub fn exchange(place: &Slot, new: *mut c_void, old: &Slot) {
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

/// Calls `change` for each function that is exchanged of an open device's context.
fn each(
    context: *mut ibv_context,
    known: &Context,
    change: fn(place: &Slot, ours: *mut c_void, old: &Slot),
) {
    // SAFETY: open until the caller closes it.
    let ops = unsafe { &(*context).ops };
    for (place, ours, old) in ours(ops, known) {
        change(place, ours, old);
    }
    if let Some(whole) = extended(context) {
        let tags = post::post_srq_ops as *mut c_void;
        change(&whole.post_srq_ops, tags, &known.post_srq_ops);
        let wq = post::create_wq as *mut c_void;
        change(&whole.create_wq, wq, &known.create_wq);
    }
}

/// A device was opened by this process, and nobody has it yet: from now on what
/// is posted is seen.
pub fn opened(context: *mut ibv_context) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let place = || find(context).or_else(|| find(std::ptr::null_mut()));
    let Some(known) = keys::follow().then(place).flatten() else {
        // One too many, or no memory: what is not known is Sight::Some.
        return;
    };
    each(context, known, exchange);
    let driver = known.post_send.load(Ordering::Relaxed) as usize;
    let sight = if driver == 0 || driver::is_of_its_own(driver) {
        Sight::Named
    } else {
        Sight::All
    };
    known.begin(context, sight);
}

/// A device is to be closed. Its memory may be another's from then on.
pub fn closing(context: *mut ibv_context) {
    let _changes = CHANGES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(known) = find(context) else {
        return;
    };
    each(context, known, put_back);
    known.end();
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
    if sight == Sight::Named && (driver == 0 || driver::somebody_needs(driver)) {
        known.lose_sight();
        return Sight::Some;
    }
    sight
}
