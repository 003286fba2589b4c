// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lock-free protocols on a machine as weak as ARMv8 allows.
//!
//! loom (tests/models.rs) runs the library's own code, but takes the fences of
//! membarrier(2) for sequentially consistent ones on both sides and does not
//! reorder everything that a processor may. Here each protocol is written out as
//! the few accesses it consists of, and run in every way that the machine of
//! `machine.rs` has, which does. Each is run again with one order or step taken
//! away at a time: a run that goes wrong then shows what that one is for, and that
//! the machine would have found it; where none does, the table says why.
//!
//! Reading order: `program` (what a thread does), `machine` (what can happen),
//! `litmus` (whether the machine is as weak as it should be), `mutants` (orders
//! and steps to be taken away), then a file for each protocol.

mod guard;
mod index;
mod litmus;
mod log;
mod machine;
mod mutants;
mod ownership;
mod program;
mod shared;
