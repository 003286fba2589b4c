// SPDX-License-Identifier: GPL-2.0-only

//! The status pages: what a client reads instead of asking.
//!
//! Page 0 is the header (`kdreg2_status_data`), the pages after it hold the state words. They are
//! ordinary pages with a permanent mapping in the kernel, through which the kernel writes, and
//! CONFIG_DATA maps them into the client, which can only ever read them (`mapping`).
//!
//! The mapping has a file of its own. It does not hold the device file, so that closing the
//! descriptor ends the monitoring at once even while the status pages are still mapped; their
//! words all read "changed" from then on, and before the first change that is no longer heard of.
//!
//! A forked child inherits the mapping but not the monitoring. Its page tables start out empty
//! there (a shared file mapping is not copied at fork), and the fault handler gives any process
//! but the owner pages on which no state word is ever valid.

use crate::{
    abi::KDREG2_STATUS_VERSION,
    account::{Account, Charge},
};
use kernel::{
    alloc::{flags::*, KVVec, VBox},
    bindings,
    ffi::c_void,
    mm::Mm,
    new_mutex,
    page::PAGE_SIZE,
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{Atomic, AtomicType, Relaxed, Release},
        Arc, Mutex,
    },
};

/// About what is left of an ended process while a descriptor of it is open or its status pages are
/// mapped, in bytes: the structure of its address space, the topmost page table, counters for each
/// processor. There is no way to ask how much it is.
const OWNER: usize = 16 << 10;

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

    fn reset_all(&self) {
        for (number, page) in self.table.iter().enumerate() {
            if let Some(page) = page {
                self.reset(number, page);
            }
        }
    }
}

/// The status pages of one descriptor.
#[pin_data]
pub(crate) struct Status {
    /// The process that may see them. Kept (`mm_count`) so that the address is not reused for
    /// another one; compared, never used.
    mm: ARef<Mm>,
    /// For itself, and for what it keeps of that process.
    _charge: Charge,
    header: HeaderPage,
    /// The header that other processes see: where the words are, and nothing active.
    foreign_header: HeaderPage,
    /// The state page that other processes see, and the owner once it has closed the descriptor.
    /// Never written.
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
        let charge = account.charge(size_of::<Self>() + OWNER)?;
        let header = HeaderPage::new(&account)?;
        let foreign_header = HeaderPage::new(&account)?;
        header.word(VERSION).store(KDREG2_STATUS_VERSION, Relaxed);
        foreign_header
            .word(VERSION)
            .store(KDREG2_STATUS_VERSION, Relaxed);
        Arc::pin_init(
            try_pin_init!(Self {
                mm,
                _charge: charge,
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
        pages.reset_all();
        Ok(())
    }

    /// The page with the state words from `number * StatePage::WORDS` on; none when they have been
    /// given back. May sleep.
    pub(crate) fn state_page(&self, number: usize) -> Result<Option<Arc<StatePage>>> {
        let mut pages = self.pages.lock();
        match pages.table.get(number) {
            None => return Ok(None),
            Some(Some(page)) => return Ok(Some(page.clone())),
            Some(None) => {}
        }
        let page = Arc::new(StatePage::new(&self.account)?, GFP_KERNEL_ACCOUNT)?;
        pages.reset(number, &page);
        pages.table[number] = Some(page.clone());
        Ok(Some(page))
    }

    /// Gives the pages of words back: the process that could see them is gone, or has closed the
    /// descriptor, after [`Status::invalidate_all`]. What it has mapped of them stays for as long as
    /// that, as memory of its own; whatever else is looked at is the page that others see. No region
    /// is active, nor will any be. May sleep.
    pub(crate) fn give_back(&self) {
        let mut pages = self.pages.lock();
        let table = core::mem::replace(&mut pages.table, KVVec::new());
        let charge = pages.charge.take();
        pages.max = 0;
        drop(pages);
        drop(table);
        drop(charge);
    }

    /// Makes every word read "changed", and for good. Called when no region can become active any
    /// more; those that are may be marked meanwhile, under the lock, which writes no valid word.
    pub(crate) fn invalidate_all(&self) {
        self.pages.lock().reset_all();
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

    /// Whether these are the status pages of that process.
    pub(crate) fn is_of(&self, mm: *const bindings::mm_struct) -> bool {
        core::ptr::eq(self.mm.as_raw(), mm)
    }

    /// The page at `offset` of the mapping, for the owner or for another process.
    ///
    /// Returns it inside `use_page`, during which it is sure to stay.
    pub(crate) fn with_page<R>(
        &self,
        offset: usize,
        owner: bool,
        use_page: impl FnOnce(*mut bindings::page) -> R,
    ) -> Result<R> {
        match (offset, owner) {
            (0, true) => Ok(use_page(self.header.page())),
            (0, false) => Ok(use_page(self.foreign_header.page())),
            (_, true) => Ok(match self.state_page(offset - 1)? {
                Some(page) => use_page(page.page()),
                None => use_page(self.blank.page()),
            }),
            (_, false) => Ok(use_page(self.blank.page())),
        }
    }
}
