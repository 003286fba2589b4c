// SPDX-License-Identifier: MIT OR Apache-2.0
//! `fi_getinfo` in each of the versions that libfabric has it in, or may have
//! it in next: a program calls the one it was linked with, and gets that one.
//! fabric.map has the same list.

use crate::import::import_once;
use crate::libfabric::real;
use std::arch::global_asm;
use std::ffi::{c_char, c_int, c_void};

/// What a call without a libfabric behind it returns: -FI_ENOSYS.
const NO_LIBFABRIC: c_int = -libc::ENOSYS;

macro_rules! getinfo {
    ($($function:ident, $alias:literal, $at:literal, $version:literal;)*) => { $(
        unsafe extern "C-unwind" fn $function(
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
    getinfo_1_8, "kdreg_getinfo_1_8", "@", "FABRIC_1.8";
    getinfo_1_9, "kdreg_getinfo_1_9", "@", "FABRIC_1.9";
    getinfo_1_10, "kdreg_getinfo_1_10", "@", "FABRIC_1.10";
    getinfo_1_11, "kdreg_getinfo_1_11", "@", "FABRIC_1.11";
    getinfo_1_12, "kdreg_getinfo_1_12", "@", "FABRIC_1.12";
    getinfo_1_13, "kdreg_getinfo_1_13", "@", "FABRIC_1.13";
    getinfo_1_14, "kdreg_getinfo_1_14", "@", "FABRIC_1.14";
    getinfo_1_15, "kdreg_getinfo_1_15", "@", "FABRIC_1.15";
    getinfo_1_16, "kdreg_getinfo_1_16", "@", "FABRIC_1.16";
    getinfo_1_17, "kdreg_getinfo_1_17", "@", "FABRIC_1.17";
    getinfo_1_18, "kdreg_getinfo_1_18", "@", "FABRIC_1.18";
    getinfo_1_19, "kdreg_getinfo_1_19", "@", "FABRIC_1.19";
    getinfo_1_20, "kdreg_getinfo_1_20", "@", "FABRIC_1.20";
    getinfo_1_21, "kdreg_getinfo_1_21", "@", "FABRIC_1.21";
    getinfo_1_22, "kdreg_getinfo_1_22", "@", "FABRIC_1.22";
    getinfo_1_23, "kdreg_getinfo_1_23", "@", "FABRIC_1.23";
    getinfo_1_24, "kdreg_getinfo_1_24", "@", "FABRIC_1.24";
    getinfo_1_25, "kdreg_getinfo_1_25", "@", "FABRIC_1.25";
    getinfo_1_26, "kdreg_getinfo_1_26", "@", "FABRIC_1.26";
    getinfo_1_27, "kdreg_getinfo_1_27", "@", "FABRIC_1.27";
    getinfo_1_28, "kdreg_getinfo_1_28", "@", "FABRIC_1.28";
    getinfo_1_29, "kdreg_getinfo_1_29", "@", "FABRIC_1.29";
    getinfo_1_30, "kdreg_getinfo_1_30", "@", "FABRIC_1.30";
    getinfo_1_31, "kdreg_getinfo_1_31", "@", "FABRIC_1.31";
    getinfo_1_32, "kdreg_getinfo_1_32", "@", "FABRIC_1.32";
    getinfo_1_33, "kdreg_getinfo_1_33", "@", "FABRIC_1.33";
    getinfo_1_34, "kdreg_getinfo_1_34", "@", "FABRIC_1.34";
    getinfo_1_35, "kdreg_getinfo_1_35", "@", "FABRIC_1.35";
    getinfo_1_36, "kdreg_getinfo_1_36", "@", "FABRIC_1.36";
    getinfo_1_37, "kdreg_getinfo_1_37", "@", "FABRIC_1.37";
    getinfo_1_38, "kdreg_getinfo_1_38", "@", "FABRIC_1.38";
    getinfo_1_39, "kdreg_getinfo_1_39", "@", "FABRIC_1.39";
    getinfo_1_40, "kdreg_getinfo_1_40", "@@", "FABRIC_1.40";
}
