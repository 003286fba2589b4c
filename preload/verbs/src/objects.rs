// SPDX-License-Identifier: MIT OR Apache-2.0
//! The objects that the dynamic loader has in this process: what they are
//! called, and which libraries they need.

use std::ffi::{CStr, c_char, c_int, c_void};

/// `Elf64_Dyn`.
#[repr(C)]
struct Dynamic {
    tag: i64,
    value: u64,
}

const DT_NULL: i64 = 0;
const DT_NEEDED: i64 = 1;
const DT_STRTAB: i64 = 5;
const DT_SONAME: i64 = 14;

/// One loaded object, while the loader is asked about it.
pub struct Object<'a> {
    base: usize,
    headers: &'a [libc::Elf64_Phdr],
    /// How many objects were ever loaded.
    pub loads: u64,
}

impl Object<'_> {
    /// Whether `address` lies in it.
    pub fn has(&self, address: usize) -> bool {
        self.headers.iter().any(|header| {
            let start = self.base.wrapping_add(header.p_vaddr as usize);
            header.p_type == libc::PT_LOAD && address.wrapping_sub(start) < header.p_memsz as usize
        })
    }

    fn dynamic(&self) -> &[Dynamic] {
        let Some(header) = self.headers.iter().find(|h| h.p_type == libc::PT_DYNAMIC) else {
            return &[];
        };
        let table = self.base.wrapping_add(header.p_vaddr as usize) as *const Dynamic;
        let length = header.p_memsz as usize / size_of::<Dynamic>();
        // SAFETY: the loaded object's dynamic section, which stays as long as
        // the loader keeps the object.
        let all = unsafe { std::slice::from_raw_parts(table, length) };
        let end = all.iter().position(|entry| entry.tag == DT_NULL);
        &all[..end.unwrap_or(length)]
    }

    fn texts(&self, tag: i64) -> impl Iterator<Item = &CStr> {
        let entries = self.dynamic();
        let strings = entries.iter().find(|entry| entry.tag == DT_STRTAB);
        // The loader adds the base to it on most architectures.
        let strings = strings.map(|entry| match entry.value as usize {
            offset if offset < self.base => self.base + offset,
            address => address,
        });
        entries
            .iter()
            .filter(move |entry| entry.tag == tag)
            .filter_map(move |entry| {
                let text = (strings? + entry.value as usize) as *const c_char;
                // SAFETY: a C string in the object's string table.
                Some(unsafe { CStr::from_ptr(text) })
            })
    }

    /// Whether it was linked with the library of this name.
    pub fn needs(&self, library: &CStr) -> bool {
        self.texts(DT_NEEDED).any(|name| name == library)
    }

    /// The name under which others are linked with it.
    pub fn name(&self) -> Option<&CStr> {
        self.texts(DT_SONAME).next()
    }
}

/// Shows loaded objects to `look` until it returns something. The loader's lock
/// is held meanwhile: `look` may not load, wait or register.
pub fn find<T>(look: impl FnMut(&Object<'_>) -> Option<T>) -> Option<T> {
    struct Search<F, T> {
        look: F,
        found: Option<T>,
    }

    unsafe extern "C" fn one<T, F: FnMut(&Object<'_>) -> Option<T>>(
        object: *mut libc::dl_phdr_info,
        _size: usize,
        search: *mut c_void,
    ) -> c_int {
        // SAFETY: both pointers are good during this call; the headers are
        // those of a loaded object, which the loader keeps loaded meanwhile.
        let (object, search, headers) = unsafe {
            let object = &*object;
            (
                object,
                &mut *search.cast::<Search<F, T>>(),
                std::slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)),
            )
        };
        search.found = (search.look)(&Object {
            base: object.dlpi_addr as usize,
            headers,
            loads: object.dlpi_adds,
        });
        // Not 0 ends the search.
        c_int::from(search.found.is_some())
    }

    fn callback<T, F: FnMut(&Object<'_>) -> Option<T>>(
        _: &Search<F, T>,
    ) -> unsafe extern "C" fn(*mut libc::dl_phdr_info, usize, *mut c_void) -> c_int {
        one::<T, F>
    }

    let mut search = Search { look, found: None };
    let callback = callback(&search);
    // SAFETY: the callback is the one for this Search.
    unsafe { libc::dl_iterate_phdr(Some(callback), (&raw mut search).cast()) };
    search.found
}
