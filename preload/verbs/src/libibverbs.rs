// SPDX-License-Identifier: MIT OR Apache-2.0
//! libibverbs itself: what it has behind the names that this library puts
//! before it.

use crate::abi::*;
use crate::cancellation::held_off;
use crate::function::Function;
use std::cell::Cell;
use std::ffi::{c_int, c_void};

type RegMr = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, c_int) -> *mut ibv_mr;
type RegMrIova = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, u64, c_int) -> *mut ibv_mr;
type RegMrIova2 = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, u64, u32) -> *mut ibv_mr;
type ReregMr =
    unsafe extern "C" fn(*mut ibv_mr, c_int, *mut ibv_pd, *mut c_void, usize, c_int) -> c_int;
type OfMr = unsafe extern "C" fn(*mut ibv_mr) -> c_int;
type OfPd = unsafe extern "C" fn(*mut ibv_pd) -> c_int;
type NothingOfPd = unsafe extern "C" fn(*mut ibv_pd);
type RegMrEx = unsafe extern "C" fn(*mut ibv_pd, *mut c_void) -> *mut ibv_mr;
type RegDmabufMr = unsafe extern "C" fn(*mut ibv_pd, u64, usize, u64, c_int, c_int) -> *mut ibv_mr;
type OpenDevice = unsafe extern "C" fn(*mut c_void) -> *mut ibv_context;
type ImportDevice = unsafe extern "C" fn(c_int) -> *mut ibv_context;
type OfQp = unsafe extern "C" fn(*mut ibv_qp) -> c_int;
type OfSrq = unsafe extern "C" fn(*mut ibv_srq) -> c_int;
type ToExtended = unsafe extern "C" fn(*mut ibv_qp) -> *mut ibv_qp_ex;
type OfContext = unsafe extern "C" fn(*mut ibv_context) -> c_int;

static REG_MR: Function = Function::new(c"ibv_reg_mr", c"IBVERBS_1.1");
static REG_MR_IOVA: Function = Function::new(c"ibv_reg_mr_iova", c"IBVERBS_1.7");
static REG_MR_IOVA2: Function = Function::new(c"ibv_reg_mr_iova2", c"IBVERBS_1.8");
static REREG_MR: Function = Function::new(c"ibv_rereg_mr", c"IBVERBS_1.1");
static DEREG_MR: Function = Function::new(c"ibv_dereg_mr", c"IBVERBS_1.1");
static DEALLOC_PD: Function = Function::new(c"ibv_dealloc_pd", c"IBVERBS_1.1");
static UNIMPORT_PD: Function = Function::new(c"ibv_unimport_pd", c"IBVERBS_1.10");
static CLOSE_DEVICE: Function = Function::new(c"ibv_close_device", c"IBVERBS_1.1");
static REG_MR_EX: Function = Function::new(c"ibv_reg_mr_ex", c"IBVERBS_1.15");
static REG_DMABUF_MR: Function = Function::new(c"ibv_reg_dmabuf_mr", c"IBVERBS_1.12");
static OPEN_DEVICE: Function = Function::new(c"ibv_open_device", c"IBVERBS_1.1");
static IMPORT_DEVICE: Function = Function::new(c"ibv_import_device", c"IBVERBS_1.10");
static DESTROY_QP: Function = Function::new(c"ibv_destroy_qp", c"IBVERBS_1.1");
static DESTROY_SRQ: Function = Function::new(c"ibv_destroy_srq", c"IBVERBS_1.1");
static QP_TO_QP_EX: Function = Function::new(c"ibv_qp_to_qp_ex", c"IBVERBS_1.6");

thread_local! {
    /// Whether this thread is inside libibverbs, on behalf of `Request::make`.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Whether libibverbs, or a driver, is registering for itself: its
/// `ibv_reg_mr` calls `ibv_reg_mr_iova2` by its public name, which is this
/// library's.
pub fn is_inside() -> bool {
    INSIDE.get()
}

/// Which of libibverbs's three functions registers.
#[derive(Clone, Copy)]
pub enum Way {
    Plain,
    Iova,
    Iova2,
}

/// One registration, as a program asks for it.
#[derive(Clone, Copy)]
pub struct Request {
    pub way: Way,
    pub pd: *mut ibv_pd,
    pub addr: *mut c_void,
    pub length: usize,
    pub iova: u64,
    pub access: u32,
}

impl Request {
    /// Calls libibverbs. Null, and errno set, when that fails.
    pub fn make(&self) -> *mut ibv_mr {
        let outer = INSIDE.replace(true);
        let mr = held_off(|| self.call());
        INSIDE.set(outer);
        mr
    }

    fn call(&self) -> *mut ibv_mr {
        let Request {
            pd,
            addr,
            length,
            iova,
            access,
            ..
        } = *self;
        // SAFETY: each function has the type that <infiniband/verbs.h> gives
        // it; the arguments are the program's own, or a range around its own.
        unsafe {
            match self.way {
                Way::Plain => REG_MR.require().map(|found| {
                    std::mem::transmute::<*mut c_void, RegMr>(found)(
                        pd,
                        addr,
                        length,
                        access as c_int,
                    )
                }),
                Way::Iova => REG_MR_IOVA.require().map(|found| {
                    std::mem::transmute::<*mut c_void, RegMrIova>(found)(
                        pd,
                        addr,
                        length,
                        iova,
                        access as c_int,
                    )
                }),
                Way::Iova2 => REG_MR_IOVA2.require().map(|found| {
                    std::mem::transmute::<*mut c_void, RegMrIova2>(found)(
                        pd, addr, length, iova, access,
                    )
                }),
            }
        }
        .unwrap_or(std::ptr::null_mut())
    }
}

/// The way that can do what the others can, in this libibverbs.
pub fn way_for(iova_is_address: bool, access: u32) -> Way {
    if iova_is_address && access & ACCESS_OPTIONAL == 0 {
        Way::Plain
    } else if REG_MR_IOVA2.get().is_some() {
        Way::Iova2
    } else {
        Way::Iova
    }
}

/// # Safety
/// As `ibv_dereg_mr`.
pub unsafe fn dereg_mr(mr: *mut ibv_mr) -> c_int {
    DEREG_MR.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OfMr>(found)(mr) })
    })
}

/// # Safety
/// As `ibv_rereg_mr`.
pub unsafe fn rereg_mr(
    mr: *mut ibv_mr,
    flags: c_int,
    pd: *mut ibv_pd,
    addr: *mut c_void,
    length: usize,
    access: c_int,
) -> c_int {
    // -1: the old registration stays as it is.
    REREG_MR.require().map_or(-1, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe {
            std::mem::transmute::<*mut c_void, ReregMr>(found)(mr, flags, pd, addr, length, access)
        })
    })
}

/// # Safety
/// As `ibv_dealloc_pd`.
pub unsafe fn dealloc_pd(pd: *mut ibv_pd) -> c_int {
    DEALLOC_PD.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OfPd>(found)(pd) })
    })
}

/// # Safety
/// As `ibv_unimport_pd`.
pub unsafe fn unimport_pd(pd: *mut ibv_pd) {
    if let Some(found) = UNIMPORT_PD.require() {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, NothingOfPd>(found)(pd) })
    }
}

/// # Safety
/// As `ibv_close_device`.
pub unsafe fn close_device(context: *mut ibv_context) -> c_int {
    CLOSE_DEVICE.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OfContext>(found)(context) })
    })
}

/// # Safety
/// As `ibv_reg_mr_ex`.
pub unsafe fn reg_mr_ex(pd: *mut ibv_pd, attr: *mut c_void) -> *mut ibv_mr {
    REG_MR_EX.require().map_or(std::ptr::null_mut(), |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, RegMrEx>(found)(pd, attr) })
    })
}

/// # Safety
/// As `ibv_reg_dmabuf_mr`.
pub unsafe fn reg_dmabuf_mr(
    pd: *mut ibv_pd,
    offset: u64,
    length: usize,
    iova: u64,
    fd: c_int,
    access: c_int,
) -> *mut ibv_mr {
    REG_DMABUF_MR
        .require()
        .map_or(std::ptr::null_mut(), |found| {
            // SAFETY: its type in <infiniband/verbs.h>.
            held_off(|| unsafe {
                std::mem::transmute::<*mut c_void, RegDmabufMr>(found)(
                    pd, offset, length, iova, fd, access,
                )
            })
        })
}

/// # Safety
/// As `ibv_open_device`.
pub unsafe fn open_device(device: *mut c_void) -> *mut ibv_context {
    OPEN_DEVICE.require().map_or(std::ptr::null_mut(), |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OpenDevice>(found)(device) })
    })
}

/// # Safety
/// As `ibv_import_device`.
pub unsafe fn import_device(fd: c_int) -> *mut ibv_context {
    IMPORT_DEVICE
        .require()
        .map_or(std::ptr::null_mut(), |found| {
            // SAFETY: its type in <infiniband/verbs.h>.
            held_off(|| unsafe { std::mem::transmute::<*mut c_void, ImportDevice>(found)(fd) })
        })
}

/// # Safety
/// As `ibv_destroy_qp`.
pub unsafe fn destroy_qp(qp: *mut ibv_qp) -> c_int {
    DESTROY_QP.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OfQp>(found)(qp) })
    })
}

/// # Safety
/// As `ibv_destroy_srq`.
pub unsafe fn destroy_srq(srq: *mut ibv_srq) -> c_int {
    DESTROY_SRQ.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, OfSrq>(found)(srq) })
    })
}

/// # Safety
/// As `ibv_qp_to_qp_ex`.
pub unsafe fn qp_to_qp_ex(qp: *mut ibv_qp) -> *mut ibv_qp_ex {
    QP_TO_QP_EX.require().map_or(std::ptr::null_mut(), |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        held_off(|| unsafe { std::mem::transmute::<*mut c_void, ToExtended>(found)(qp) })
    })
}
