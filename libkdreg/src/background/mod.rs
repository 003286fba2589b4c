// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   spawn       how one is started
//   terms       what it takes on by itself, and what its creator does for it
//   processors  which processors a thread may use
//   realtime    the application's real-time threads, which may poll there
//   callbacks   what callbacks leave in it
//   way         how the library's threads get out of their way
//! The library's own threads: `kdreg-events`, `kdreg-reaper`, `kdreg-ahead`,
//! `kdreg-fabric`.

mod callbacks;
mod processors;
mod realtime;
mod spawn;
mod terms;
pub(crate) mod way;

pub(crate) use callbacks::end_exception;
pub(crate) use spawn::{Stack, Thread, spawn};
