// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a cache calls: the caller's functions that register and deregister.

use super::{Departure, Handle, Held, Registration};
use crate::errno::Errno;
use crate::monitor::Needs;
use crate::range::Range;

/// Registers and deregisters memory on behalf of a cache.
///
/// Called with no lock held, from any thread that calls the cache and, unless
/// [`Options::no_reaper`](super::Options::no_reaper) is set, from the library's reaper thread
/// (`deregister` only). May call back into the library, the same cache
/// included, but not destroy the cache. Must not unwind, nor end its thread: the
/// C face sees to callbacks that do.
pub trait Registrar: Send + Sync {
    /// Makes `range` accessible to the device with at least the rights in
    /// `access`. `ENOMEM` says that something would have to be released first:
    /// the cache evicts and asks again.
    fn register(&self, range: Range, access: u32) -> Result<Handle, Errno>;

    /// What a registration with the rights in `access` needs of the memory:
    /// changes of its protection that leave this keep it.
    fn needs(&self, access: u32) -> Needs {
        let _ = access;
        Needs::Write
    }

    /// Undoes a registration.
    fn deregister(&self, range: Range, handle: Handle);

    /// As `register`, with all that is known. What a cache calls.
    fn register_with(&self, registration: &Registration) -> Result<Handle, Errno> {
        self.register(registration.range, registration.access)
    }

    /// Whether to call [`Registrar::departed`]. Asked once.
    fn wants_departures(&self) -> bool {
        false
    }

    /// An entry is not to be found any more. Before it is deregistered; callers
    /// may still be using it.
    fn departed(&self, departure: &Departure) {
        let _ = departure;
    }

    /// The cache was emptied: what the registrar itself keeps for later is to go.
    /// With `ended` that was the last call, and nothing is in use.
    fn emptied(&self, ended: bool) {
        let _ = ended;
    }

    /// Describes a registration for [`Cache::dump`](super::Cache::dump), in a line; returns how many
    /// bytes.
    fn describe(&self, held: &Held<'_>, text: &mut [u8]) -> usize {
        let _ = (held, text);
        0
    }

    /// As `deregister`, with all that is known. What a cache calls.
    fn deregister_with(&self, registration: &Registration, handle: Handle) {
        self.deregister(registration.range, handle);
    }
}
