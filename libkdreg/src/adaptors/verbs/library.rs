// SPDX-License-Identifier: MIT OR Apache-2.0
//! libibverbs, opened when it is first needed: the five functions of it that
//! are called here, and the one structure that is looked into.

use crate::adaptors::loader::{self, refused};
use crate::cancellation::held_off;
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory::try_box;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::fmt;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Its name for the dynamic loader: the ABI that all of rdma-core has had.
const NAME: &CStr = c"libibverbs.so.1";

/// libibverbs's protection domain. Made by `ibv_alloc_pd()`; opaque here.
#[repr(C)]
#[allow(
    non_camel_case_types,
    reason = "libibverbs's own name, which programs and manuals use"
)]
pub struct ibv_pd {
    _opaque: [u8; 0],
}

/// libibverbs's memory region: the members that its ABI makes public.
#[repr(C)]
#[allow(
    non_camel_case_types,
    reason = "libibverbs's own name, which programs and manuals use"
)]
pub struct ibv_mr {
    /// The device's context.
    pub context: *mut c_void,
    /// The protection domain.
    pub pd: *mut ibv_pd,
    /// The first address registered.
    pub addr: *mut c_void,
    /// How many bytes.
    pub length: usize,
    /// The kernel's number for it.
    pub handle: u32,
    /// The key for local access, as in `struct ibv_sge`.
    pub lkey: u32,
    /// The key that peers use.
    pub rkey: u32,
}

/// `int access`, as libibverbs spells it.
type RegMr = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, c_int) -> *mut ibv_mr;
type RegMrIova2 = unsafe extern "C" fn(*mut ibv_pd, *mut c_void, usize, u64, u32) -> *mut ibv_mr;
type DeregMr = unsafe extern "C" fn(*mut ibv_mr) -> c_int;
type GetDeviceList = unsafe extern "C" fn(*mut c_int) -> *mut *mut c_void;
type FreeDeviceList = unsafe extern "C" fn(*mut *mut c_void);

/// The functions of libibverbs.
pub(super) struct Library {
    pub reg_mr: RegMr,
    /// Leaves out optional access flags that a kernel does not know; rdma-core
    /// has it since 25, of 2019.
    pub reg_mr_iova2: Option<RegMrIova2>,
    pub dereg_mr: DeregMr,
    pub get_device_list: GetDeviceList,
    pub free_device_list: FreeDeviceList,
}

type DlOpen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

impl Library {
    /// The library, opened by the first call that succeeds and never closed:
    /// devices keep threads and handlers in it.
    ///
    /// # Errors
    /// `ELIBACC` when it cannot be opened; the log says why. `ENOMEM`.
    pub fn get() -> Result<&'static Library, Errno> {
        // Not a OnceLock: a child forked while it is being filled would wait
        // for a thread it does not have.
        static LIBRARY: AtomicPtr<Library> = AtomicPtr::new(std::ptr::null_mut());
        // Acquire: pairs with the Release below, which publishes the contents.
        let library = LIBRARY.load(Ordering::Acquire);
        if !library.is_null() {
            // SAFETY: once published, never freed.
            return Ok(unsafe { &*library });
        }
        let fresh = Box::into_raw(try_box(held_off(Library::open)?)?);
        let null = std::ptr::null_mut();
        match LIBRARY.compare_exchange(null, fresh, Ordering::Release, Ordering::Acquire) {
            // SAFETY: published just now, never freed.
            Ok(_) => Ok(unsafe { &*fresh }),
            // SAFETY: ours was not published; the winner's is never freed.
            Err(winner) => unsafe {
                drop(Box::from_raw(fresh));
                Ok(&*winner)
            },
        }
    }

    fn open() -> Result<Library, Errno> {
        // Looked up, not linked: a static program has no loader, and the
        // static linker warns about every one that names dlopen.
        // SAFETY: the name is a C string.
        let dlopen = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"dlopen".as_ptr()) };
        if dlopen.is_null() {
            return Err(unusable(format_args!(
                "a program that is linked statically can load no library: link it with \
                 libkdreg.so and the shared libc"
            )));
        }
        // SAFETY: dlopen has had this type since there is a dlopen.
        let dlopen: DlOpen = unsafe { std::mem::transmute::<*mut c_void, DlOpen>(dlopen) };
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: the name is a C string; loading libibverbs runs its
        // constructors, which any program that links it runs too.
        let handle = loader::open(|| unsafe { dlopen(NAME.as_ptr(), flags) });
        if handle.is_null() {
            return Err(refused(|reason| {
                unusable(format_args!(
                    "{reason}; install it (Debian: libibverbs1 and ibverbs-providers; Fedora: \
                     libibverbs), or set LD_LIBRARY_PATH to where it is"
                ))
            }));
        }
        // SAFETY: each type is that of the function in <infiniband/verbs.h>;
        // looked up through the handle, they are libibverbs's own, whatever a
        // preloaded library puts before them.
        unsafe {
            Ok(Library {
                reg_mr: std::mem::transmute::<*mut c_void, RegMr>(symbol(handle, c"ibv_reg_mr")?),
                // Null where there is none, which an `Option` has as `None`.
                reg_mr_iova2: std::mem::transmute::<*mut c_void, Option<RegMrIova2>>(libc::dlsym(
                    handle,
                    c"ibv_reg_mr_iova2".as_ptr(),
                )),
                dereg_mr: std::mem::transmute::<*mut c_void, DeregMr>(symbol(
                    handle,
                    c"ibv_dereg_mr",
                )?),
                get_device_list: std::mem::transmute::<*mut c_void, GetDeviceList>(symbol(
                    handle,
                    c"ibv_get_device_list",
                )?),
                free_device_list: std::mem::transmute::<*mut c_void, FreeDeviceList>(symbol(
                    handle,
                    c"ibv_free_device_list",
                )?),
            })
        }
    }
}

/// A function of the library, in its default version; never null.
fn symbol(handle: *mut c_void, name: &CStr) -> Result<*mut c_void, Errno> {
    // SAFETY: a handle from dlopen, and a C string.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() {
        Err(refused(|reason| unusable(format_args!("{reason}"))))
    } else {
        Ok(found)
    }
}

/// Says why libibverbs cannot be used.
fn unusable(reason: fmt::Arguments<'_>) -> Errno {
    log::say(
        Level::Error,
        format_args!("verbs: libibverbs cannot be used: {reason}"),
    );
    Errno::ELIBACC
}
