// SPDX-License-Identifier: GPL-2.0-only

//! The status pages: what a client reads instead of asking.
//!
//! Page 0 is the header (`kdreg2_status_data`), the pages after it hold the state words. They are
//! ordinary pages with a permanent mapping in the kernel, through which the kernel writes, and
//! CONFIG_DATA maps them into the client, which can only ever read them.
//!
//! The mapping has a file of its own. It does not hold the device file, so that closing the
//! descriptor ends the monitoring at once even while the status pages are still mapped; their
//! words all read "changed" from then on.
//!
//! A forked child inherits the mapping but not the monitoring. Its page tables start out empty
//! there (a shared file mapping is not copied at fork), and the fault handler gives any process
//! but the owner pages on which no state word is ever valid.

use crate::{
    abi::KDREG2_STATUS_VERSION,
    account::{Account, Charge},
    table::Table,
};
use kernel::{
    alloc::{flags::*, KVVec, VBox},
    bindings,
    error::to_result,
    ffi::{c_char, c_int, c_uint, c_ulong, c_void},
    fs::file::flags::O_RDONLY,
    mm::{virt::VmaNew, Mm},
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, AtomicType, Relaxed, Release},
        Arc, Mutex,
    },
};

/// A page full of atomics that user space may read at any time.
pub(crate) struct SharedPage<T: AtomicType, const N: usize> {
    // Memory of the vmalloc area starts on a page boundary and is made of ordinary pages.
    cells: VBox<[Atomic<T>; N]>,
    _charge: Charge,
}

/// A page of state words.
pub(crate) type StatePage = SharedPage<u32, { PAGE_SIZE / size_of::<u32>() }>;
type HeaderPage = SharedPage<u64, { PAGE_SIZE / size_of::<u64>() }>;

impl<T: AtomicType, const N: usize> SharedPage<T, N> {
    pub(crate) const WORDS: usize = N;

    /// Allocates a page of zeroes. May sleep.
    fn new(account: &Arc<Account>) -> Result<Self> {
        const { assert!(N * size_of::<T>() == PAGE_SIZE) };
        let charge = account.charge(PAGE_SIZE)?;
        let cells = VBox::<[Atomic<T>; N]>::new_uninit(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        Ok(Self {
            // SAFETY: `Atomic<T>` has the bit validity of `T`, which is an integer (`StatePage`
            // and `HeaderPage` are the only types), and the memory is zeroed.
            cells: unsafe { cells.assume_init() },
            _charge: charge,
        })
    }

    fn word(&self, index: usize) -> &Atomic<T> {
        &self.cells[index]
    }

    /// The `count` words from `first` on, as far as the page goes.
    pub(crate) fn words(&self, first: usize, count: usize) -> &[Atomic<T>] {
        self.cells.get(first..first + count).unwrap_or(&[])
    }

    /// The page behind the memory; valid as long as `self`.
    fn page(&self) -> *mut bindings::page {
        // SAFETY: A `VBox` is memory from vmalloc.
        unsafe { bindings::vmalloc_to_page(self.cells.as_ptr().cast::<c_void>()) }
    }
}

// Where the fields of `Kdreg2StatusData` are, in units of u64.
const VERSION: usize = 0;
const MAX_REGIONS: usize = 1;
const PENDING_EVENTS: usize = 2;
const TOTAL_EVENTS: usize = 3;
const ACTIVE_REGIONS: usize = 4;
const STATE_BASE: usize = 5;

/// The state pages that exist. Protected by the mutex in [`Status`].
struct Pages {
    /// One entry per page, filled when the page is first needed.
    table: KVVec<Option<Arc<StatePage>>>,
    /// For that table; each page has a charge of its own.
    charge: Option<Charge>,
    /// Number of slots configured.
    max: u32,
}

impl Pages {
    /// What an unused word says: the index of the next slot, as free slots form a list.
    fn free_word(index: usize, max: u32) -> u32 {
        if index + 1 < max as usize {
            ((index + 1) as u32) << 1
        } else {
            u32::MAX << 1
        }
    }

    fn reset(&self, number: usize, page: &StatePage) {
        for i in 0..StatePage::WORDS {
            let word = Self::free_word(number * StatePage::WORDS + i, self.max);
            // Release: as in `Word::set`, for words that were valid up to now.
            page.word(i).store(word, Release);
        }
    }
}

/// The status pages of one descriptor.
#[pin_data]
pub(crate) struct Status {
    /// The process that may see them. Kept (`mm_count`) so that the address is not reused for
    /// another one; compared, never used.
    mm: ARef<Mm>,
    header: HeaderPage,
    /// The header that other processes see: where the words are, and nothing active.
    foreign_header: HeaderPage,
    /// The state page that other processes see. Never written.
    blank: StatePage,
    account: Arc<Account>,
    /// Taken with the mmap lock held (by the fault handler), so nothing that takes that one may
    /// be called under it. Held across allocations.
    #[pin]
    pages: Mutex<Pages>,
}

impl Status {
    /// Allocates the status pages of a new descriptor. May sleep.
    pub(crate) fn new(mm: ARef<Mm>, account: Arc<Account>) -> Result<Arc<Self>> {
        let header = HeaderPage::new(&account)?;
        let foreign_header = HeaderPage::new(&account)?;
        header.word(VERSION).store(KDREG2_STATUS_VERSION, Relaxed);
        foreign_header
            .word(VERSION)
            .store(KDREG2_STATUS_VERSION, Relaxed);
        Arc::pin_init(
            try_pin_init!(Self {
                mm,
                header,
                foreign_header,
                blank: StatePage::new(&account)?,
                account,
                pages <- new_mutex!(Pages {
                    table: KVVec::new(),
                    charge: None,
                    max: 0,
                }, "kdreg::pages"),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Makes room for the words of `max` slots and marks all words free. No region is active, and
    /// none becomes active meanwhile. May sleep.
    pub(crate) fn configure(&self, max: u32) -> Result {
        let mut pages = self.pages.lock();
        let needed = (max as usize).div_ceil(StatePage::WORDS);
        if pages.table.len() < needed {
            let size = needed * size_of::<Option<Arc<StatePage>>>();
            pages.charge = Some(self.account.charge(size)?);
            let more = needed - pages.table.len();
            pages.table.reserve(more, GFP_KERNEL_ACCOUNT)?;
            for _ in 0..more {
                // Cannot reallocate: the capacity is there.
                pages.table.push(None, GFP_KERNEL_ACCOUNT)?;
            }
        }
        pages.max = max;
        for (number, page) in pages.table.iter().enumerate() {
            if let Some(page) = page {
                pages.reset(number, page);
            }
        }
        Ok(())
    }

    /// The page with the state words from `number * StatePage::WORDS` on. May sleep.
    pub(crate) fn state_page(&self, number: usize) -> Result<Arc<StatePage>> {
        let mut pages = self.pages.lock();
        match pages.table.get(number) {
            None => return Err(EINVAL),
            Some(Some(page)) => return Ok(page.clone()),
            Some(None) => {}
        }
        let page = Arc::new(StatePage::new(&self.account)?, GFP_KERNEL_ACCOUNT)?;
        pages.reset(number, &page);
        pages.table[number] = Some(page.clone());
        Ok(page)
    }

    /// The process that could see the words is gone, and gives back their pages; what a child
    /// inherited shows others. No region is active, nor will any be. May sleep.
    pub(crate) fn owner_gone(&self) {
        let mut pages = self.pages.lock();
        let table = core::mem::replace(&mut pages.table, KVVec::new());
        let charge = pages.charge.take();
        pages.max = 0;
        drop(pages);
        drop(table);
        drop(charge);
    }

    /// Makes every word read "changed". Called when no region can become active any more.
    pub(crate) fn invalidate_all(&self) {
        let pages = self.pages.lock();
        for (number, page) in pages.table.iter().enumerate() {
            if let Some(page) = page {
                pages.reset(number, page);
            }
        }
    }

    /// Announces `max` words at the address `base`.
    pub(crate) fn announce(&self, max: u32, base: u64) {
        for header in [&self.header, &self.foreign_header] {
            // Relaxed: the client learns of the address from the system call that is yet to
            // return; the values are looked at one by one.
            header.word(MAX_REGIONS).store(max.into(), Relaxed);
            header.word(STATE_BASE).store(base, Relaxed);
        }
    }

    /// Publishes the number of monitored regions.
    pub(crate) fn set_active(&self, regions: u32) {
        // Relaxed: a statistic.
        self.header
            .word(ACTIVE_REGIONS)
            .store(regions.into(), Relaxed);
    }

    /// Publishes the number of waiting events, and of those ever queued.
    pub(crate) fn set_events(&self, pending: u32, total: u64) {
        // Relaxed: ordered before `pending` by the release store below.
        self.header.word(TOTAL_EVENTS).store(total, Relaxed);
        // Release: pairs with a client's acquire load. Who sees an event counted sees the state
        // word that was changed before it.
        self.header
            .word(PENDING_EVENTS)
            .store(pending.into(), Release);
    }

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

    /// The page at `offset` of the mapping, for the owner or for another process.
    ///
    /// Returns it inside `use_page`, during which it is sure to stay.
    fn with_page<R>(
        &self,
        offset: usize,
        owner: bool,
        use_page: impl FnOnce(*mut bindings::page) -> R,
    ) -> Result<R> {
        match (offset, owner) {
            (0, true) => Ok(use_page(self.header.page())),
            (0, false) => Ok(use_page(self.foreign_header.page())),
            (_, true) => Ok(use_page(self.state_page(offset - 1)?.page())),
            (_, false) => Ok(use_page(self.blank.page())),
        }
    }
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
    let owner = mm == status.mm.as_raw();
    status
        .with_page(offset, owner, |page| {
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
