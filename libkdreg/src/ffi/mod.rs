// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   boundary       between results and return values: no panic crosses
//   handle         what callers hold instead of pointers
//   sized          structures that can grow
//   library        version, errors, log
//   monitor_types  what a monitor is asked for and what it says
//   monitor        the monitor
//   access         the rights of a registration
//   cache_types    how a cache is made, its callbacks among it
//   callbacks      a caller's callbacks as a registrar
//   cache          the cache: making, ending, dropping
//   lookup         get, find and put
//   scatter        the same of scatter lists
//   ahead          registering ahead of use
//   drop           dropping an entry, draining a cache, what goes first
//   group          caches that share limits
//   entry          what is known of an entry that is held
//   show           what a cache says of itself
//   measured       a way in for measuring programs
//! The C ABI: a thin face over [`crate::monitor`] and [`crate::cache`].
//!
//! Only this module handles pointers from C callers. Every function checks
//! what it is given, returns a negative errno when it is wrong, and lets no
//! panic out. `include/kdreg.h` is generated from here by cbindgen; the
//! comments are its documentation.

#![allow(non_camel_case_types, reason = "these are the names C programs use")]

mod access;
mod ahead;
pub(crate) mod boundary;
pub mod cache;
mod cache_types;
pub(crate) mod callbacks;
mod drop;
mod entry;
pub(crate) mod group;
pub(crate) mod handle;
pub mod library;
mod lookup;
mod measured;
pub mod monitor;
mod monitor_types;
mod scatter;
mod show;
pub(crate) mod sized;

pub use measured::open_monitor;

/// A monitor handle: one subscriber with an event queue of its own.
///
/// Made by kdreg_open(), ended by kdreg_close(). May be used by any number of
/// threads, but not while another thread closes it.
pub struct kdreg(());

/// See `struct kdreg`.
pub type kdreg_t = kdreg;

/// A pin-down cache.
///
/// Made by kdreg_cache_create(), ended by kdreg_cache_destroy(). May be used by
/// any number of threads, but not while another thread destroys it.
pub struct kdreg_cache(());

/// See `struct kdreg_cache`.
pub type kdreg_cache_t = kdreg_cache;

/// Limits that several caches share.
///
/// Made by kdreg_group_create(), ended by kdreg_group_destroy(). May be used by any
/// number of threads, but not while another thread destroys it.
pub struct kdreg_group(());

/// See `struct kdreg_group`.
pub type kdreg_group_t = kdreg_group;

/// A registration in use: from kdreg_cache_get() or kdreg_cache_find() until
/// kdreg_cache_put().
pub struct kdreg_entry(());

/// See `struct kdreg_entry`.
pub type kdreg_entry_t = kdreg_entry;
