// SPDX-License-Identifier: GPL-2.0-only

//! The mapping of the status pages into the client.
//!
//! It has a file of its own, which does not hold the device file: see [`Status`].

use crate::{
    status::{StatePage, Status},
    table::Table,
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{c_char, c_int, c_uint, c_ulong, c_void},
    fs::file::flags::O_RDONLY,
    mm::virt::VmaNew,
    page::PAGE_SIZE,
    prelude::*,
    sync::Arc,
};

impl Status {
    fn mapping_size(max: u32) -> usize {
        (1 + (max as usize).div_ceil(StatePage::WORDS)) * PAGE_SIZE
    }

    /// Maps header and words of `max` slots into the current process and returns the address.
    pub(crate) fn map(self: &Arc<Self>, max: u32) -> Result<usize> {
        const PROT_READ: c_ulong = 1;
        const MAP_SHARED: c_ulong = 1;

        let private = Arc::into_raw(self.clone());
        // SAFETY: The name and the file operations are static. On success the file owns the
        // reference in `private`, which `release` gives up; `FOPS.owner` keeps the module loaded.
        let file = unsafe {
            anon_inode_getfile(
                c"[kdreg]".as_char_ptr(),
                FOPS.as_ptr(),
                private.cast_mut().cast::<c_void>(),
                O_RDONLY as c_int,
            )
        };
        if let Err(err) = kernel::error::from_err_ptr(file) {
            // SAFETY: The pointer comes from `into_raw` above and nobody took it over.
            drop(unsafe { Arc::from_raw(private) });
            return Err(err);
        }
        // SAFETY: `file` is a valid file; the caller is a system call, so there is a current mm
        // and none of its locks are held.
        let address = unsafe {
            bindings::vm_mmap(
                file,
                0,
                Self::mapping_size(max) as c_ulong,
                PROT_READ,
                MAP_SHARED,
                0,
            )
        };
        // SAFETY: This is the reference that `anon_inode_getfile` gave us; the mapping has its own.
        unsafe { bindings::fput(file) };
        // The last page of the address space encodes error numbers.
        to_result(if address as isize >= -4095 && (address as isize) < 0 {
            address as c_int
        } else {
            0
        })?;
        Ok(address as usize)
    }

    /// Undoes [`Status::map`].
    pub(crate) fn unmap(address: usize, max: u32) {
        // SAFETY: Unmapping memory of the current process is what it could do itself at any time.
        // It fails only for want of memory; the mapping stays then, and does no harm.
        let _ = unsafe { bindings::vm_munmap(address as c_ulong, Self::mapping_size(max)) };
    }

    /// Address of the words in a mapping at `address`.
    pub(crate) fn words_at(address: usize) -> u64 {
        (address + PAGE_SIZE) as u64
    }
}

/// References to one page that mappings can have, be it a page that all of a descriptor share. Far
/// from where the kernel's counter of 32 bits turns negative, let alone wraps: it is not checked
/// where page tables are filled. The counter of mappings is never above it.
const MOST_REFERENCES: u32 = 1 << 30;

/// How many references there are to a page, by page tables and by whatever else.
///
/// # Safety
///
/// `page` is a page of its own, no part of a larger folio, and stays for the call.
unsafe fn references(page: *mut bindings::page) -> u32 {
    // SAFETY: The caller promises that it is there. An `atomic_t` is an integer that may be read at
    // any time; volatile makes this one load, as `atomic_read` does.
    unsafe { (&raw const (*page)._refcount.counter).read_volatile() as u32 }
}

#[allow(improper_ctypes)]
extern "C" {
    // Exported to GPL modules; not among the generated bindings. The lint minds a structure without
    // fields deep inside `struct file`, which C has too.
    fn anon_inode_getfile(
        name: *const c_char,
        fops: *const bindings::file_operations,
        private: *mut c_void,
        flags: c_int,
    ) -> *mut bindings::file;
}

static FOPS: Table<bindings::file_operations> = Table::new(bindings::file_operations {
    owner: crate::compat::this_module(),
    mmap: Some(mmap),
    release: Some(release),
    ..pin_init::zeroed()
});

static VM_OPS: Table<bindings::vm_operations_struct> = Table::new(bindings::vm_operations_struct {
    fault: Some(fault),
    ..pin_init::zeroed()
});

/// # Safety
///
/// Called by the kernel, for a file made in [`Status::map`], with a vma that is being set up.
unsafe extern "C" fn mmap(_file: *mut bindings::file, vma: *mut bindings::vm_area_struct) -> c_int {
    // SAFETY: The vma is undergoing initial setup.
    let new = unsafe { VmaNew::from_raw(vma) };
    // Read-only for ever: mprotect() cannot bring back what is cleared here. DONTEXPAND also keeps
    // userfaultfd and guard pages off, with either of which fork() would copy the page tables.
    if let Err(err) = new
        .try_clear_maywrite()
        .and_then(|()| new.try_clear_mayexec())
    {
        return err.to_errno();
    }
    new.set_dontexpand();
    new.set_dontdump();
    // SAFETY: The vma is being set up and not yet shared.
    unsafe { (*vma).vm_ops = VM_OPS.as_ptr() };
    0
}

/// # Safety
///
/// Called by the kernel when the last reference to a file made in [`Status::map`] goes.
unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
    // SAFETY: `private_data` is the reference that `Status::map` gave to the file; no mapping is
    // left and nothing else can use the file.
    drop(unsafe { Arc::<Status>::from_raw((*file).private_data.cast::<Status>()) });
    0
}

/// # Safety
///
/// Called by the kernel on a page fault in a vma set up by [`mmap`].
unsafe extern "C" fn fault(vmf: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The fault handler may look at the fault, at its vma (locked or under the mmap lock),
    // and at the file, which the vma holds.
    let (mm, status, offset) = unsafe {
        let vma = (*vmf).__bindgen_anon_1.vma;
        let file = (*vma).vm_file;
        (
            (*vma).vm_mm,
            &*(*file).private_data.cast::<Status>(),
            (*vmf).__bindgen_anon_1.pgoff,
        )
    };
    let owner = status.is_of(mm);
    status
        .with_page(offset, owner, |page| {
            // The blank page is at every offset of every mapping of every child. Faults that come
            // in between the look and the insertion are no more than there are tasks.
            //
            // SAFETY: It is one page of vmalloc memory, of a `VBox` of just this size, and stays for
            // the call.
            if unsafe { references(page) } > MOST_REFERENCES {
                return bindings::vm_fault_reason_VM_FAULT_SIGBUS as c_uint;
            }
            // Takes a reference of its own on the page. Never writable: `write` is false, and so
            // is the protection of the vma.
            //
            // SAFETY: `vmf` is the fault being handled and `page` stays for the call.
            unsafe { bindings::vmf_insert_page_mkwrite(vmf, page, false) }
        })
        .unwrap_or_else(|err| {
            if err == ENOMEM {
                bindings::vm_fault_reason_VM_FAULT_OOM as c_uint
            } else {
                bindings::vm_fault_reason_VM_FAULT_SIGBUS as c_uint
            }
        })
}
