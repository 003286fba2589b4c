// SPDX-License-Identifier: MIT OR Apache-2.0
//! libkdreg: registrations that cannot go stale.
//!
//! RDMA and MPI libraries pin ("register") user memory for the network card,
//! and cache the registrations because registering is slow. When the
//! application unmaps or remaps that memory, a cached registration goes stale:
//! the card reads and writes pages the application no longer sees. This crate
//! ends that, in two halves that can be used apart:
//!
//! * [`monitor`]: tells, before the call that changed it returns, that a range
//!   no longer maps what it did;
//! * [`cache`]: an LRU pin-down cache on top of a monitor.
//!
//! The guarantee: *if a call that changes the mapping of a monitored range has
//! returned, in any thread, no later lookup, in any thread, reports a
//! registration over that range as valid.* Which calls a backend sees is
//! published as its [`monitor::Capabilities`]. When anything goes wrong the
//! answer is "not valid".
//!
//! The C ABI (`kdreg.h`, feature `capi`) is a thin face over the same types.
//!
//! ```
//! use kdreg::cache::{Cache, Handle, Options, Registrar};
//! use kdreg::errno::Errno;
//! use kdreg::monitor::{self, Monitor};
//! use kdreg::range::Range;
//!
//! struct Device;
//! impl Registrar for Device {
//!     fn register(&self, range: Range, _access: u32) -> Result<Handle, Errno> {
//!         Ok(Handle(range.start())) // a real one pins `range` here
//!     }
//!     fn deregister(&self, _range: Range, _handle: Handle) {}
//! }
//!
//! let monitor = Monitor::open(&monitor::Options::default())?;
//! let cache = Cache::new(&monitor, Options::default(), Box::new(Device))?;
//! let buffer = vec![0u8; 1 << 20];
//! let range = Range::new(buffer.as_ptr() as usize, buffer.len())?;
//! let registration = cache.get(range, 0)?;
//! assert!(registration.range().contains(range));
//! # Ok::<(), Errno>(())
//! ```
//!
//! # Architecture
//! <div>
#![doc = include_str!("../assets/architecture.svg")]
//! </div>
//!
#![doc = include_str!("../assets/paths.md")]
#![warn(missing_docs)]

pub mod adaptors;
mod background;
mod barrier;
pub mod cache;
mod cancellation;
mod descriptor;
mod environment;
pub mod errno;
#[cfg(feature = "capi")]
pub mod ffi;
mod interpreter;
mod interval_tree;
mod lock;
pub mod log;
mod memory;
#[doc = include_str!("../assets/migrating.md")]
pub mod migrating {}
mod hazard;
pub mod monitor;
mod pause;
mod prefetch;
mod process;
mod race_detector;
pub mod range;
mod reservation;
mod specific;
#[doc(hidden)]
pub mod status_page;
mod sync;
mod thread_pointer;
mod thread_registry;
mod uapi;
mod unwinding;

/// The library's version, `major.minor.patch`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
