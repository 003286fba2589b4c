// SPDX-License-Identifier: GPL-2.0-only

//! The names under `/dev`.

use crate::device::FOPS;
use kernel::{
    bindings,
    error::to_result,
    ffi::{c_int, c_void},
    prelude::*,
    types::Opaque,
};

/// A misc device under one name.
///
/// # Invariants
///
/// `device` is registered.
#[pin_data(PinnedDrop)]
pub(crate) struct Name {
    #[pin]
    device: Opaque<bindings::miscdevice>,
}

// SAFETY: A misc device can be deregistered from any thread.
unsafe impl Send for Name {}
// SAFETY: The registered device is only read.
unsafe impl Sync for Name {}

impl Name {
    /// Registers `/dev/<name>`, for everybody to use: a descriptor shows a process nothing but its
    /// own memory.
    pub(crate) fn register(name: &'static CStr) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            device <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let device = bindings::miscdevice {
                    minor: bindings::MISC_DYNAMIC_MINOR as c_int,
                    name: name.as_char_ptr(),
                    fops: FOPS.as_ptr(),
                    mode: 0o666,
                    ..pin_init::zeroed()
                };
                // SAFETY: The slot is ours to initialise.
                unsafe { slot.write(device) };
                // INVARIANT: The device is registered when this succeeds.
                // SAFETY: The device is initialised, pinned, and deregistered before it is freed.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }

    /// Whether no misc device has the name `name`. Asking is better than trying: a failed attempt
    /// would leave a stack dump in the kernel log.
    pub(crate) fn is_free(&self, name: &CStr) -> bool {
        // SAFETY: By the type invariants the device is registered, so it has a `struct device` in
        // the misc class; both stay while it is registered. `device_match_name` takes a C string.
        let found = unsafe {
            bindings::class_find_device(
                (*(*self.device.get()).this_device).class,
                core::ptr::null(),
                name.as_char_ptr().cast::<c_void>(),
                Some(bindings::device_match_name),
            )
        };
        if found.is_null() {
            return true;
        }
        // SAFETY: `class_find_device` returned a reference.
        unsafe { bindings::put_device(found) };
        false
    }
}

#[pinned_drop]
impl PinnedDrop for Name {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants the device is registered. No file is open: open files
        // hold a reference on the module.
        unsafe { bindings::misc_deregister(self.device.get()) };
    }
}
