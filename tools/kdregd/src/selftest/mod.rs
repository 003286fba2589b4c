// SPDX-License-Identifier: MIT OR Apache-2.0
//! The self-test: a child of ours enrols as a client does, changes memory in every
//! way there is, and looks whether its log had the change when the call returned.

pub mod absent;
pub mod change;
pub mod changes;
pub mod child;
pub mod enrolled;
pub mod memory;
pub mod reuse;
pub mod trial;
pub mod userfault;
