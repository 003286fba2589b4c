// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the cache registers with.

use kdreg::cache::{Handle, Registrar};
use kdreg::errno::Errno;
use kdreg::range::Range;
use std::sync::{Arc, Mutex};

/// A device with so much memory, which remembers what it was asked to do.
#[derive(Default)]
pub struct Device {
    pub capacity: usize,
    pub used: usize,
    pub registered: Vec<Range>,
    pub deregistered: Vec<Range>,
    pub next: usize,
    pub live: Vec<(usize, Range)>,
}

#[derive(Clone)]
pub struct Shared(pub Arc<Mutex<Device>>);

impl Registrar for Shared {
    fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
        let mut device = self.0.lock().unwrap();
        if device.used + range.len() > device.capacity {
            return Err(Errno::ENOMEM);
        }
        device.used += range.len();
        device.registered.push(range);
        device.next += 1;
        let handle = device.next;
        device.live.push((handle, range));
        Ok(Handle(handle))
    }

    fn deregister(&self, range: Range, handle: Handle) {
        let mut device = self.0.lock().unwrap();
        let place = device
            .live
            .iter()
            .position(|entry| *entry == (handle.0, range));
        let place = place.expect("only what is registered is deregistered, once");
        device.live.swap_remove(place);
        device.used -= range.len();
        device.deregistered.push(range);
    }
}
