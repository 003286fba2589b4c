// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who calls `ibv_reg_mr_iova2`: a program that was linked with libibverbs, or
//! libibverbs itself.
//!
//! libibverbs's `ibv_reg_mr` and `ibv_reg_mr_iova` end in a jump to
//! `ibv_reg_mr_iova2` by its public name, which is this library's. So it is
//! called too for those that fetched the real `ibv_reg_mr` by
//! `dlsym(handle, ...)`. They will give what they get to the real
//! `ibv_dereg_mr`, fetched in the same way, and so must get a real `ibv_mr`.
//! They are known by this: the object that is returned to does not name
//! libibverbs among the libraries it needs.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many callers are remembered.
const PLACES: usize = 64;

/// Return addresses that were judged: of objects that are linked with
/// libibverbs, and of others. Relaxed: each is a fact by itself.
static LINKED: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];
static FOREIGN: [AtomicUsize; PLACES] = [const { AtomicUsize::new(0) }; PLACES];

/// Whether the code at `address` is part of an object that is linked with
/// libibverbs.
pub fn is_linked(address: usize) -> bool {
    let place = (address ^ address >> 6) % PLACES;
    if LINKED[place].load(Ordering::Relaxed) == address {
        return true;
    }
    if FOREIGN[place].load(Ordering::Relaxed) == address {
        return false;
    }
    let linked = needs_libibverbs(address);
    let table = if linked { &LINKED } else { &FOREIGN };
    table[place].store(address, Ordering::Relaxed);
    linked
}

struct Search {
    address: usize,
    found: bool,
}

fn needs_libibverbs(address: usize) -> bool {
    let mut search = Search {
        address,
        found: false,
    };
    // SAFETY: `look` has the type that is asked for, and its argument is a
    // Search, as it expects.
    unsafe { libc::dl_iterate_phdr(Some(look), (&raw mut search).cast()) };
    search.found
}

/// Looks at one loaded object; not 0 ends the search.
unsafe extern "C" fn look(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    search: *mut c_void,
) -> c_int {
    // SAFETY: both pointers are good during this call; the headers are those
    // of a loaded object, which the loader keeps loaded meanwhile.
    let (object, search, headers) = unsafe {
        let object = &*object;
        (
            object,
            &mut *search.cast::<Search>(),
            std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)),
        )
    };
    let base = object.dlpi_addr as usize;
    let covers = |header: &libc::Elf64_Phdr| {
        let start = base.wrapping_add(header.p_vaddr as usize);
        header.p_type == libc::PT_LOAD
            && search.address.wrapping_sub(start) < header.p_memsz as usize
    };
    if !headers.iter().any(covers) {
        return 0;
    }
    if let Some(dynamic) = headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) {
        let table = base.wrapping_add(dynamic.p_vaddr as usize) as *const Dynamic;
        let length = dynamic.p_memsz as usize / size_of::<Dynamic>();
        // SAFETY: the loaded object's dynamic section.
        search.found = unsafe { names_libibverbs(std::slice::from_raw_parts(table, length), base) };
    }
    1
}

/// `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

const DT_NULL: i64 = 0;
const DT_NEEDED: i64 = 1;
const DT_STRTAB: i64 = 5;

/// # Safety
/// `entries` is the dynamic section of an object loaded at `base`.
unsafe fn names_libibverbs(entries: &[Dynamic], base: usize) -> bool {
    let entries = || entries.iter().take_while(|entry| entry.tag != DT_NULL);
    let Some(strings) = entries().find(|entry| entry.tag == DT_STRTAB) else {
        return false;
    };
    // The loader adds the base to it on most architectures.
    let strings = match strings.value as usize {
        offset if offset < base => base + offset,
        address => address,
    };
    entries()
        .filter(|entry| entry.tag == DT_NEEDED)
        .any(|entry| {
            let name = (strings + entry.value as usize) as *const c_char;
            // SAFETY: a C string in the object's string table.
            let name = unsafe { CStr::from_ptr(name) };
            name == c"libibverbs.so.1"
        })
}
