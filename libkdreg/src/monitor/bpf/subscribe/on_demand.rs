// SPDX-License-Identifier: MIT OR Apache-2.0
//! One page of memory, registered with an RDMA device on demand, and not any more.
//!
//! By libibverbs, if the process can load it: none of it is called where the
//! machine has no RDMA device.

use crate::errno::Errno;
use crate::range::page_size;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::null_mut;

const IBV_ACCESS_LOCAL_WRITE: c_int = 1;
const IBV_ACCESS_ON_DEMAND: c_int = 1 << 6;

type GetDeviceList = unsafe extern "C" fn(*mut c_int) -> *mut *mut c_void;
type FreeDeviceList = unsafe extern "C" fn(*mut *mut c_void);
/// `ibv_open_device`, `ibv_alloc_pd`.
type Make = unsafe extern "C" fn(*mut c_void) -> *mut c_void;
/// `ibv_close_device`, `ibv_dealloc_pd`, `ibv_dereg_mr`.
type End = unsafe extern "C" fn(*mut c_void) -> c_int;
type RegMr = unsafe extern "C" fn(*mut c_void, *mut c_void, usize, c_int) -> *mut c_void;
type DlOpen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;

/// The functions of libibverbs that are called here.
struct Library {
    get_device_list: GetDeviceList,
    free_device_list: FreeDeviceList,
    open_device: Make,
    close_device: End,
    alloc_pd: Make,
    dealloc_pd: End,
    reg_mr: RegMr,
    dereg_mr: End,
}

/// Registers one page on demand, with the first device that does.
pub(super) fn register_page() -> Result<(), Errno> {
    // Loading a library is not nothing.
    if std::fs::read_dir("/sys/class/infiniband").map_or(true, |mut all| all.next().is_none()) {
        return Err(Errno::ENODEV);
    }
    let library = Library::open()?;
    let page = Page::new()?;
    // SAFETY: the functions of <infiniband/verbs.h>, called as it says: the list
    // is freed once no device of it is looked at.
    unsafe {
        let list = (library.get_device_list)(null_mut());
        if list.is_null() {
            return Err(Errno::last());
        }
        let mut result = Err(Errno::ENODEV);
        let mut place = list;
        while result.is_err() && !(*place).is_null() {
            result = library.register_with(*place, &page);
            place = place.add(1);
        }
        (library.free_device_list)(list);
        result
    }
}

impl Library {
    fn open() -> Result<Library, Errno> {
        // Looked up, not linked: see `adaptors::verbs::library`.
        // SAFETY: the name is a C string.
        let dlopen = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"dlopen".as_ptr()) };
        if dlopen.is_null() {
            return Err(Errno::ELIBACC);
        }
        let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: dlopen has had this type since there is a dlopen; loading
        // libibverbs runs its constructors, as in any program that links it.
        let handle = unsafe {
            let dlopen = std::mem::transmute::<*mut c_void, DlOpen>(dlopen);
            dlopen(c"libibverbs.so.1".as_ptr(), flags)
        };
        if handle.is_null() {
            return Err(Errno::ELIBACC);
        }
        let symbol = |name: &CStr| {
            // SAFETY: a handle from dlopen, and a C string.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            if found.is_null() {
                Err(Errno::ELIBACC)
            } else {
                Ok(found)
            }
        };
        // SAFETY: each type is that of the function in <infiniband/verbs.h>.
        unsafe {
            use std::mem::transmute;
            Ok(Library {
                get_device_list: transmute::<*mut c_void, GetDeviceList>(symbol(
                    c"ibv_get_device_list",
                )?),
                free_device_list: transmute::<*mut c_void, FreeDeviceList>(symbol(
                    c"ibv_free_device_list",
                )?),
                open_device: transmute::<*mut c_void, Make>(symbol(c"ibv_open_device")?),
                close_device: transmute::<*mut c_void, End>(symbol(c"ibv_close_device")?),
                alloc_pd: transmute::<*mut c_void, Make>(symbol(c"ibv_alloc_pd")?),
                dealloc_pd: transmute::<*mut c_void, End>(symbol(c"ibv_dealloc_pd")?),
                reg_mr: transmute::<*mut c_void, RegMr>(symbol(c"ibv_reg_mr")?),
                dereg_mr: transmute::<*mut c_void, End>(symbol(c"ibv_dereg_mr")?),
            })
        }
    }

    /// Registers and undoes it.
    ///
    /// # Safety
    /// `device` is one of a list that is not freed yet.
    unsafe fn register_with(&self, device: *mut c_void, page: &Page) -> Result<(), Errno> {
        let made = |object: *mut c_void| {
            if object.is_null() {
                Err(Errno::last())
            } else {
                Ok(object)
            }
        };
        // SAFETY: the device by the caller; the rest is ended in the order opposite
        // to that in which it was made.
        unsafe {
            let context = made((self.open_device)(device))?;
            let registered = made((self.alloc_pd)(context)).and_then(|pd| {
                let access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND;
                let registered =
                    made((self.reg_mr)(pd, page.0, page_size(), access)).map(|region| {
                        (self.dereg_mr)(region);
                    });
                (self.dealloc_pd)(pd);
                registered
            });
            (self.close_device)(context);
            registered
        }
    }
}

/// A page of memory that nobody else uses.
struct Page(*mut c_void);

impl Page {
    fn new() -> Result<Page, Errno> {
        // SAFETY: a new anonymous mapping affects no existing memory.
        let page = unsafe {
            libc::mmap(
                null_mut(),
                page_size(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if page == libc::MAP_FAILED {
            Err(Errno::last())
        } else {
            Ok(Page(page))
        }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0, page_size()) };
    }
}
