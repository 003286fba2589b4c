// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fi_getinfo` in each of the versions that libfabric has it in: a program
//! calls the one it was linked with, and gets that one.

use super::{import_once, real};
use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_void};

/// What a call without a libfabric behind it returns: -FI_ENOSYS.
const NO_LIBFABRIC: c_int = -libc::ENOSYS;

macro_rules! getinfo {
    ($($function:ident, $alias:literal, $at:literal, $version:literal;)*) => { $(
        unsafe extern "C" fn $function(
            version: u32,
            node: *const c_char,
            service: *const c_char,
            flags: u64,
            hints: *const c_void,
            info: *mut *mut c_void,
        ) -> c_int {
            const VERSION: &std::ffi::CStr =
                match std::ffi::CStr::from_bytes_with_nul(concat!($version, "\0").as_bytes()) {
                    Ok(version) => version,
                    Err(_) => panic!("a version contains NUL"),
                };
            let Some(function) = real(VERSION) else {
                return NO_LIBFABRIC;
            };
            // SAFETY: the caller's arguments, for the very version it called.
            let result = unsafe { function(version, node, service, flags, hints, info) };
            import_once();
            result
        }

        // One name can have several versions in assembler only. The alias and its
        // version must be in one object, so it jumps to the function.
        #[cfg(target_arch = "x86_64")]
        global_asm!(
            concat!(".globl ", $alias),
            concat!(".type ", $alias, ", @function"),
            concat!($alias, ":"),
            "jmp {function}",
            concat!(".size ", $alias, ", . - ", $alias),
            concat!(".symver ", $alias, ", fi_getinfo", $at, $version),
            function = sym $function,
        );
        #[cfg(target_arch = "aarch64")]
        global_asm!(
            concat!(".globl ", $alias),
            concat!(".type ", $alias, ", @function"),
            concat!($alias, ":"),
            "b {function}",
            concat!(".size ", $alias, ", . - ", $alias),
            concat!(".symver ", $alias, ", fi_getinfo", $at, $version),
            function = sym $function,
        );
    )* };
}

getinfo! {
    getinfo_1_0, "kdreg_getinfo_1_0", "@", "FABRIC_1.0";
    getinfo_1_1, "kdreg_getinfo_1_1", "@", "FABRIC_1.1";
    getinfo_1_2, "kdreg_getinfo_1_2", "@", "FABRIC_1.2";
    getinfo_1_3, "kdreg_getinfo_1_3", "@", "FABRIC_1.3";
    getinfo_1_7, "kdreg_getinfo_1_7", "@", "FABRIC_1.7";
    getinfo_1_8, "kdreg_getinfo_1_8", "@@", "FABRIC_1.8";
}
