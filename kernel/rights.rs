// SPDX-License-Identifier: GPL-2.0-only

//! What a change of protection leaves of a mapping's rights.
//!
//! The kernel announces a change of protection (`MMU_NOTIFY_PROTECTION_VMA`) also where nothing is
//! taken away: when automatic NUMA balancing takes pages out of the page tables to see who uses
//! them, and when mprotect() adds rights or sets those that were there. Nothing in the range tells
//! these apart, but the mapping does: mprotect() gives it its new rights before it announces the
//! change, and the other callers leave them as they are.
//!
//! Who announces it, on 7.0 to 7.3, and what is held at both ends of the range:
//!
//! * mprotect(): the mmap lock for writing; one mapping, with its new flags;
//! * NUMA balancing (`task_numa_work`): the mmap lock for reading;
//! * userfaultfd, to write-protect and when it lets go: the mmap lock for reading or for writing. The
//!   mapping has a flag that says so, before and after;
//! * PAGEMAP_SCAN with PM_SCAN_WP_MATCHING: the mmap lock for reading. It changes mappings that
//!   have that flag, and no other; its range may be any;
//! * the same for huge pages of hugetlbfs (`hugetlb_change_protection`), which may have widened the
//!   range to what page tables are shared over.
//!
//! So the mmap lock keeps the mapping and its flags, and as it is a lock of the address space whose
//! notifier is called, that is true for whoever calls. No lock that is taken inside that of the
//! regions is needed: looking a mapping up takes RCU alone.

use crate::{change_mask::Rights, compat};
use kernel::{
    bindings,
    mm::virt::{flags, vm_flags_t, VmaRef},
};

/// Bits of a protection key: a number in the flags of a mapping, on x86 and arm64 in the first four
/// of the bits that are the architecture's. Keys change what user space may do without changing
/// the flags that are looked at here.
const PROTECTION_KEY: vm_flags_t = 0xf << 32;

/// What makes the rights say less than they seem to, or the range more.
const UNCERTAIN: vm_flags_t = flags::HUGETLB | compat::UFFD_PROTECTS | PROTECTION_KEY;

/// The rights that are left in all of the range: none unless the mapping at its start has all of
/// it and nothing else decides about them.
///
/// # Safety
///
/// `range` is what the kernel hands to a callback, a change of protection.
pub(crate) unsafe fn left_in(range: *const bindings::mmu_notifier_range) -> Rights {
    // SAFETY: The range is valid during the callback, and its mmap lock is held by the caller of
    // it (see above), so the mapping stays as it is.
    let vma = unsafe {
        let vma = bindings::vma_lookup((*range).mm, (*range).start);
        if vma.is_null() {
            return Rights::NONE;
        }
        VmaRef::from_raw(vma)
    };
    // SAFETY: As above.
    let end = unsafe { (*range).end };
    let flags = vma.flags();
    if vma.end() < end as usize || flags & UNCERTAIN != 0 {
        return Rights::NONE;
    }
    Rights {
        read: flags & flags::READ != 0,
        write: flags & flags::WRITE != 0,
    }
}
