// SPDX-License-Identifier: MIT OR Apache-2.0
//! The atomics of the small concurrent cores (`cache::refs`, `monitor::guard`).
//!
//! Those files are compiled a second time by `tests/models.rs`, where this
//! module's names stand for loom's, so that every interleaving is explored.

pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
