// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in the kernel: programs, maps, links, and their pins.

pub mod calls;
pub mod clients;
pub mod features;
pub mod ftrace;
pub mod generation;
pub mod guarded;
pub mod holding;
pub mod images;
pub mod loaded;
pub mod orders;
pub mod pins;
pub mod programs;
pub mod remains;
pub mod switches;
pub mod tasks;

/// What libbpf has to say goes to the log only when something fails: it is in the
/// error then.
pub fn quiet() {
    libbpf_rs::set_print(Some((libbpf_rs::PrintLevel::Warn, |_level, text| {
        eprint!("kdregd: {text}");
    })));
}
