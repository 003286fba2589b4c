// SPDX-License-Identifier: MIT OR Apache-2.0
//! libibverbs itself: what it has behind the names that this library puts
//! before it, and the public parts of its structures.

#![allow(non_camel_case_types, reason = "the names of <infiniband/verbs.h>")]

use crate::report;
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::sync::atomic::{AtomicPtr, Ordering};

#[repr(C)]
pub struct ibv_context {
    _opaque: [u8; 0],
}

#[repr(C)]
pub struct ibv_pd {
    pub context: *mut ibv_context,
    pub handle: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct ibv_mr {
    pub context: *mut ibv_context,
    pub pd: *mut ibv_pd,
    pub addr: *mut c_void,
    pub length: usize,
    pub handle: u32,
    pub lkey: u32,
    pub rkey: u32,
}

pub const ACCESS_LOCAL_WRITE: u32 = 1;
pub const ACCESS_REMOTE_WRITE: u32 = 1 << 1;
pub const ACCESS_REMOTE_READ: u32 = 1 << 2;
pub const ACCESS_FLUSH_GLOBAL: u32 = 1 << 8;
pub const ACCESS_FLUSH_PERSISTENT: u32 = 1 << 9;
pub const ACCESS_RELAXED_ORDERING: u32 = 1 << 20;
/// Flags that a kernel may leave out.
pub const ACCESS_OPTIONAL: u32 = 0x3ff0_0000;

type RegMr = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, c_int) -> *mut ibv_mr;
type RegMrIova = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, u64, c_int) -> *mut ibv_mr;
type RegMrIova2 = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, u64, u32) -> *mut ibv_mr;
type ReregMr =
    unsafe extern "C" fn(*mut ibv_mr, c_int, *mut ibv_pd, *mut c_void, usize, c_int) -> c_int;
type OfMr = unsafe extern "C" fn(*mut ibv_mr) -> c_int;
type OfPd = unsafe extern "C" fn(*mut ibv_pd) -> c_int;
type NothingOfPd = unsafe extern "C" fn(*mut ibv_pd);
type OfContext = unsafe extern "C" fn(*mut ibv_context) -> c_int;

/// A function of libibverbs that is found when it is first called.
struct Function {
    name: &'static CStr,
    version: &'static CStr,
    /// Acquire and Release are not needed: it points to code, which was
    /// published by the loader.
    found: AtomicPtr<c_void>,
}

impl Function {
    const fn new(name: &'static CStr, version: &'static CStr) -> Function {
        Function {
            name,
            version,
            found: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn get(&self) -> Option<*mut c_void> {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return Some(known);
        }
        // SAFETY: C strings. RTLD_NEXT: what the caller would have got without
        // this library.
        let mut found =
            unsafe { libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), self.version.as_ptr()) };
        if found.is_null() {
            // A plugin that was opened RTLD_LOCAL brought libibverbs along: it
            // is loaded, but in no scope that RTLD_NEXT looks into.
            // SAFETY: C strings; RTLD_NOLOAD loads nothing.
            found = unsafe {
                let flags = libc::RTLD_NOW | libc::RTLD_NOLOAD;
                let library = libc::dlopen(c"libibverbs.so.1".as_ptr(), flags);
                if library.is_null() {
                    library
                } else {
                    libc::dlvsym(library, self.name.as_ptr(), self.version.as_ptr())
                }
            };
        }
        self.found.store(found, Ordering::Relaxed);
        (!found.is_null()).then_some(found)
    }

    /// For a function that was called, and so must be there.
    fn require(&self) -> Option<*mut c_void> {
        let found = self.get();
        if found.is_none() {
            report::once(format_args!(
                "libibverbs.so.1 is not loaded or has no {}@{}: link the program with it, or \
                 leave libkdreg-verbs.so out of LD_PRELOAD",
                self.name.to_string_lossy(),
                self.version.to_string_lossy()
            ));
            report::set_errno(libc::ENOSYS);
        }
        found
    }
}

static REG_MR: Function = Function::new(c"ibv_reg_mr", c"IBVERBS_1.1");
static REG_MR_IOVA: Function = Function::new(c"ibv_reg_mr_iova", c"IBVERBS_1.7");
static REG_MR_IOVA2: Function = Function::new(c"ibv_reg_mr_iova2", c"IBVERBS_1.8");
static REREG_MR: Function = Function::new(c"ibv_rereg_mr", c"IBVERBS_1.1");
static DEREG_MR: Function = Function::new(c"ibv_dereg_mr", c"IBVERBS_1.1");
static DEALLOC_PD: Function = Function::new(c"ibv_dealloc_pd", c"IBVERBS_1.1");
static UNIMPORT_PD: Function = Function::new(c"ibv_unimport_pd", c"IBVERBS_1.10");
static CLOSE_DEVICE: Function = Function::new(c"ibv_close_device", c"IBVERBS_1.1");

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
        let mr = self.call();
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
                        access.cast_signed(),
                    )
                }),
                Way::Iova => REG_MR_IOVA.require().map(|found| {
                    std::mem::transmute::<*mut c_void, RegMrIova>(found)(
                        pd,
                        addr,
                        length,
                        iova,
                        access.cast_signed(),
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
        unsafe { std::mem::transmute::<*mut c_void, OfMr>(found)(mr) }
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
        unsafe {
            std::mem::transmute::<*mut c_void, ReregMr>(found)(mr, flags, pd, addr, length, access)
        }
    })
}

/// # Safety
/// As `ibv_dealloc_pd`.
pub unsafe fn dealloc_pd(pd: *mut ibv_pd) -> c_int {
    DEALLOC_PD.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        unsafe { std::mem::transmute::<*mut c_void, OfPd>(found)(pd) }
    })
}

/// # Safety
/// As `ibv_unimport_pd`.
pub unsafe fn unimport_pd(pd: *mut ibv_pd) {
    if let Some(found) = UNIMPORT_PD.require() {
        // SAFETY: its type in <infiniband/verbs.h>.
        unsafe { std::mem::transmute::<*mut c_void, NothingOfPd>(found)(pd) }
    }
}

/// # Safety
/// As `ibv_close_device`.
pub unsafe fn close_device(context: *mut ibv_context) -> c_int {
    CLOSE_DEVICE.require().map_or(libc::ENOSYS, |found| {
        // SAFETY: its type in <infiniband/verbs.h>.
        unsafe { std::mem::transmute::<*mut c_void, OfContext>(found)(context) }
    })
}
