// SPDX-License-Identifier: MIT OR Apache-2.0
//! The bpf backend: kdregd's programs log what changes.

#[doc(hidden)]
pub mod abi;
