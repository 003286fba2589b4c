// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   loader   what the dynamic loader says when it refuses
//   verbs/   a cache of memory regions
//   uring/   a cache of io_uring's registered buffers
//   fabric/  a monitor for libfabric's own cache
//! Caches for particular libraries and devices: what to register with, and
//! what to say when it fails, is theirs; everything else is [`crate::cache`].

#[cfg(feature = "capi")]
pub mod fabric;
#[cfg(any(feature = "capi", feature = "verbs"))]
mod loader;
pub mod uring;
#[cfg(feature = "verbs")]
pub mod verbs;
