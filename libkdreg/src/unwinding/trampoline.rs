// SPDX-License-Identifier: MIT OR Apache-2.0
//! The frame that calls a callback, and that no unwinding passes.
//!
//! A thread that ends in a callback (`pthread_exit`, `pthread_cancel`) and a C++
//! exception that leaves one unwind the stack: frame by frame, each frame's
//! personality routine is asked whether it has something to do. The frame here
//! has a personality routine of its own, which stops whatever comes, by going
//! on behind the call as if the callback had returned, with word of what
//! stopped there. So no frame of Rust is ever unwound by others, its locks and
//! its books are its own affair, and it cleans up in ordinary control flow.

use super::{Escape, Exception};
use crate::race_detector;
use std::ffi::{c_int, c_void};

/// What the call came to.
#[repr(C)]
struct Outcome {
    /// What the callback returned, or with an exception [`FORCED`] or [`THROWN`].
    value: usize,
    /// Null when the callback returned.
    exception: *mut Exception,
}

/// The thread is ending: unwinding goes on to the bottom of the stack.
const FORCED: usize = 1;
/// An exception looks for its handler.
const THROWN: usize = 2;

/// Calls `function` with up to five arguments that are integers or pointers and a
/// result that is one, or nothing.
///
/// # Safety
/// It is a function that can be called so: by the C ABI of both architectures
/// arguments of this kind, as many as the function has, are in the first
/// registers, and what is in the others is nobody's business.
unsafe fn call(function: *const c_void, arguments: [usize; 5]) -> Result<usize, Escape> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: the caller's.
    let outcome = race_detector::watched(|| unsafe { guarded(a, b, c, d, e, function) });
    if outcome.exception.is_null() {
        return Ok(outcome.value);
    }
    Err(Escape {
        exception: outcome.exception,
        forced: outcome.value == FORCED,
    })
}

/// Calls a callback that returns an `int`.
///
/// # Safety
/// As for calling `function` with what `arguments` stand for.
#[inline]
pub(crate) unsafe fn call_int(
    function: *const c_void,
    arguments: [usize; 5],
) -> Result<c_int, Escape> {
    // SAFETY: the caller's. An int is in the lower half of the register.
    unsafe { call(function, arguments) }.map(|value| value as c_int)
}

/// Calls a callback that returns nothing.
///
/// # Safety
/// As for calling `function` with what `arguments` stand for.
#[inline]
pub(crate) unsafe fn call_void(
    function: *const c_void,
    arguments: [usize; 5],
) -> Result<(), Escape> {
    // SAFETY: the caller's.
    unsafe { call(function, arguments) }.map(|_| ())
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
unsafe extern "C" {
    /// The frame. Its language-specific data is how far behind itself unwinding
    /// is to go on.
    ///
    /// In assembly, as a function that begins with its first instruction; hidden,
    /// as it is this library's own.
    ///
    /// # Safety
    /// As for `call`.
    #[link_name = "kdreg_guarded_call"]
    fn guarded(
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
        function: *const c_void,
    ) -> Outcome;
}

// The five arguments are where the callback expects them. `Outcome` is returned
// in rax and rdx, which are also the registers that the unwinder passes to a
// landing pad.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.kdreg_guarded_call, \"ax\", @progbits",
    ".p2align 4",
    ".globl kdreg_guarded_call",
    ".hidden kdreg_guarded_call",
    ".type kdreg_guarded_call, @function",
    "kdreg_guarded_call:",
    ".cfi_startproc",
    // Indirect and relative to where it is said: no relocation in the text.
    ".cfi_personality 0x9b, .Lkdreg_stops",
    ".cfi_lsda 0x1b, .Lkdreg_goes_on",
    "sub rsp, 8",
    ".cfi_adjust_cfa_offset 8",
    "call r9",
    "xor edx, edx",
    ".Lkdreg_behind:",
    "add rsp, 8",
    ".cfi_adjust_cfa_offset -8",
    "ret",
    ".cfi_endproc",
    ".size kdreg_guarded_call, . - kdreg_guarded_call",
    ".popsection",
    ".pushsection .data.rel.ro, \"aw\", @progbits",
    ".p2align 3",
    ".Lkdreg_stops: .quad {personality}",
    ".popsection",
    ".pushsection .gcc_except_table, \"a\", @progbits",
    ".p2align 2",
    ".Lkdreg_goes_on: .long .Lkdreg_behind - .Lkdreg_goes_on",
    ".popsection",
    personality = sym personality,
);

// As above, with x0 and x1.
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.kdreg_guarded_call, \"ax\", %progbits",
    ".p2align 2",
    ".globl kdreg_guarded_call",
    ".hidden kdreg_guarded_call",
    ".type kdreg_guarded_call, %function",
    "kdreg_guarded_call:",
    ".cfi_startproc",
    ".cfi_personality 0x9b, .Lkdreg_stops",
    ".cfi_lsda 0x1b, .Lkdreg_goes_on",
    "stp x29, x30, [sp, #-16]!",
    ".cfi_def_cfa_offset 16",
    ".cfi_offset 29, -16",
    ".cfi_offset 30, -8",
    "mov x29, sp",
    "blr x5",
    "mov x1, #0",
    ".Lkdreg_behind:",
    "ldp x29, x30, [sp], #16",
    ".cfi_restore 29",
    ".cfi_restore 30",
    ".cfi_def_cfa_offset 0",
    "ret",
    ".cfi_endproc",
    ".size kdreg_guarded_call, . - kdreg_guarded_call",
    ".popsection",
    ".pushsection .data.rel.ro, \"aw\", %progbits",
    ".p2align 3",
    ".Lkdreg_stops: .xword {personality}",
    ".popsection",
    ".pushsection .gcc_except_table, \"a\", %progbits",
    ".p2align 2",
    ".Lkdreg_goes_on: .word .Lkdreg_behind - .Lkdreg_goes_on",
    ".popsection",
    personality = sym personality,
);

/// On other architectures nothing stops unwinding: the thread is taken down by
/// the Rust frames around it, as by any that must not be unwound.
///
/// # Safety
/// As for `call`.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe extern "C" fn guarded(
    a: usize,
    b: usize,
    c: usize,
    d: usize,
    e: usize,
    function: *const c_void,
) -> Outcome {
    type Function = unsafe extern "C" fn(usize, usize, usize, usize, usize) -> usize;
    Outcome {
        // SAFETY: the caller's.
        value: unsafe { std::mem::transmute::<*const c_void, Function>(function)(a, b, c, d, e) },
        exception: std::ptr::null_mut(),
    }
}

/// What the unwinder knows of a frame.
#[repr(C)]
struct Context(());

const SEARCH_PHASE: c_int = 1;
const FORCE_UNWIND: c_int = 8;
const HANDLER_FOUND: c_int = 6;
const INSTALL_CONTEXT: c_int = 7;

unsafe extern "C" {
    fn _Unwind_SetGR(context: *mut Context, index: c_int, value: usize);
    fn _Unwind_SetIP(context: *mut Context, value: usize);
    fn _Unwind_GetLanguageSpecificData(context: *mut Context) -> *const c_void;
}

/// The personality routine of `guarded`: whatever it is, it ends here.
///
/// # Safety
/// Called by the unwinder for a frame of `guarded`.
unsafe extern "C" fn personality(
    _version: c_int,
    actions: c_int,
    _class: u64,
    exception: *mut Exception,
    context: *mut Context,
) -> c_int {
    if actions & SEARCH_PHASE != 0 {
        return HANDLER_FOUND;
    }
    let kind = if actions & FORCE_UNWIND != 0 {
        FORCED
    } else {
        THROWN
    };
    // SAFETY: the unwinder's context of a frame of `guarded`, whose data is
    // one word: how far from it to the instruction behind the call. The two
    // registers (0 and 1 of both architectures' numbering are those) are ones
    // that a call may change.
    unsafe {
        let data = _Unwind_GetLanguageSpecificData(context);
        let distance = data.cast::<i32>().read_unaligned() as isize;
        _Unwind_SetGR(context, 0, kind);
        _Unwind_SetGR(context, 1, exception as usize);
        _Unwind_SetIP(context, (data as usize).wrapping_add_signed(distance));
    }
    INSTALL_CONTEXT
}
