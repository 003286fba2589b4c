// SPDX-License-Identifier: GPL-2.0-only

//! What differs between the kernels that the module is built for, 7.0 to 7.3. Everything else is
//! written once, against what all of them have.
//!
//! There is no way to ask for the kernel's version here, and no need: each difference is written so
//! that the compiler takes either form. What only some of them have is not used: 7.0's atomics cannot
//! subtract (`fetch_sub`).

use core::borrow::Borrow;
use kernel::{bindings, mm::virt::vm_flags_t};

/// Flags of a mapping that say that userfaultfd takes rights away from pages: `VM_UFFD_WP` and, from
/// 7.3 on, `VM_UFFD_RWP`, a bit that has no meaning before. They are not among the bindings.
pub(crate) const UFFD_PROTECTS: vm_flags_t = 1 << 12 | 1 << 43;

/// This module, as the owner of its files.
///
/// The crate's `THIS_MODULE` is there up to 7.2 only; the symbol that kbuild links into every
/// module always is.
pub(crate) const fn this_module() -> *mut bindings::module {
    &raw mut bindings::__this_module
}

/// The value of a module parameter. `value()` returns a reference up to 7.2, and a copy from 7.3.
pub(crate) fn parameter<T: Copy>(value: impl Borrow<T>) -> T {
    *value.borrow()
}
