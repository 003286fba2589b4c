// SPDX-License-Identifier: MIT OR Apache-2.0
//! The functions of libibverbs that make and end registrations, as programs
//! call them.

use crate::abi::{ibv_mr, ibv_pd};
use crate::libibverbs::{self, Request, Way};
use crate::registering::{other, register, release};
use crate::wrapper::Wrapper;
use crate::{caller, errno, watch};
use std::ffi::{c_int, c_void};

/// `ibv_reg_mr`, from a cache where that may be.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    access: c_int,
) -> *mut ibv_mr {
    let (way, iova, access) = (Way::Plain, addr as u64, access as u32);
    register(Request {
        way,
        pd,
        addr,
        length,
        iova,
        access,
    })
}

/// `ibv_reg_mr_iova`, from a cache where that may be.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: c_int,
) -> *mut ibv_mr {
    let (way, access) = (Way::Iova, access as u32);
    register(Request {
        way,
        pd,
        addr,
        length,
        iova,
        access,
    })
}

// `ibv_reg_mr_iova2`, from a cache where that may be. The header's inline
// `ibv_reg_mr` calls it when the flags are not a constant. Adds the address
// that it will return to, which a function of Rust cannot ask for.
#[cfg(target_arch = "x86_64")]
std::arch::global_asm!(
    ".pushsection .text.ibv_reg_mr_iova2, \"ax\", @progbits",
    ".p2align 4",
    ".globl ibv_reg_mr_iova2",
    ".type ibv_reg_mr_iova2, @function",
    "ibv_reg_mr_iova2:",
    ".cfi_startproc",
    "mov r9, [rsp]",
    "jmp {from}",
    ".cfi_endproc",
    ".size ibv_reg_mr_iova2, . - ibv_reg_mr_iova2",
    ".popsection",
    from = sym iova2_from,
);
#[cfg(target_arch = "aarch64")]
std::arch::global_asm!(
    ".pushsection .text.ibv_reg_mr_iova2, \"ax\", %progbits",
    ".p2align 2",
    ".globl ibv_reg_mr_iova2",
    ".type ibv_reg_mr_iova2, %function",
    "ibv_reg_mr_iova2:",
    ".cfi_startproc",
    "mov x5, x30",
    "b {from}",
    ".cfi_endproc",
    ".size ibv_reg_mr_iova2, . - ibv_reg_mr_iova2",
    ".popsection",
    from = sym iova2_from,
);

/// On other architectures nobody knows who calls: passed through.
///
/// # Safety
/// As libibverbs's.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_iova2(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
) -> *mut ibv_mr {
    iova2_from(pd, addr, length, iova, access, 0)
}

extern "C" fn iova2_from(
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    iova: u64,
    access: u32,
    caller: usize,
) -> *mut ibv_mr {
    let request = Request {
        way: Way::Iova2,
        pd,
        addr,
        length,
        iova,
        access,
    };
    if libibverbs::is_inside() || !caller::is_linked(caller) {
        return request.make();
    }
    register(request)
}

/// `ibv_reg_mr_ex`, as it is: it says more than a cache compares.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_mr_ex(pd: *mut ibv_pd, attr: *mut c_void) -> *mut ibv_mr {
    // SAFETY: the program's.
    other(|| unsafe { libibverbs::reg_mr_ex(pd, attr) })
}

/// `ibv_reg_dmabuf_mr`, as it is: its memory is not this process's.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_reg_dmabuf_mr(
    pd: *mut ibv_pd,
    offset: u64,
    length: usize,
    iova: u64,
    fd: c_int,
    access: c_int,
) -> *mut ibv_mr {
    // SAFETY: the program's.
    other(|| unsafe { libibverbs::reg_dmabuf_mr(pd, offset, length, iova, fd, access) })
}

/// `ibv_dereg_mr`: gives a registration back. 0, or an errno value; `EINVAL`
/// for one that was deregistered before.
///
/// # Safety
/// As libibverbs's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ibv_dereg_mr(mr: *mut ibv_mr) -> c_int {
    let Some(found) = Wrapper::of(mr) else {
        // SAFETY: the program's.
        return unsafe { libibverbs::dereg_mr(mr) };
    };
    if watch::is_forked_child() {
        // The registration is the parent's.
        return 0;
    }
    let errno = errno::errno();
    let Some(wrapper) = Wrapper::take(found) else {
        return libc::EINVAL;
    };
    let Some(backing) = wrapper.backing.take() else {
        wrapper.keep();
        return libc::EINVAL;
    };
    match release(&wrapper.mr, backing) {
        Ok(()) => {
            wrapper.give_back();
            errno::set_errno(errno);
            0
        }
        Err((error, backing)) => {
            wrapper.backing = Some(backing);
            wrapper.keep();
            error
        }
    }
}
