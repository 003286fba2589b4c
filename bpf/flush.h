/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Mode F, x86-64: where translations are flushed. By then pages have been taken
 * away, and the call that did it has not returned. And where mappings go, with pages
 * or without.
 */
#ifndef KDREG_FLUSH_H
#define KDREG_FLUSH_H

#include "guard.h"
#include "log.h"

#define PAGE_BYTES 4096UL

SEC("fentry/flush_tlb_mm_range")
int BPF_PROG(flush_range, struct mm_struct *mm, unsigned long start, unsigned long end)
{
	/* All there is: of fork, which leaves pages that are pinned as they are, and of exit. */
	if (start < end && !(start == 0 && end == ~0UL))
		log_change((__u64)mm, start, end, 0);
	leave(FLUSH_RANGE);
	return 0;
}

SEC("fentry/tlb_finish_mmu")
int BPF_PROG(gather_finish, struct mmu_gather *tlb)
{
	/* Empty when everything that was gathered has been flushed before. */
	if (tlb->start < tlb->end)
		log_change((__u64)tlb->mm, tlb->start, tlb->end, 0);
	leave(GATHER_FINISH);
	return 0;
}

/*
 * Mappings are about to go. Whoever looks for them, or wants their place, waits for the
 * lock that is held, or does not find them any more. Those that have no pages are
 * flushed by nobody.
 */
SEC("fentry/unmap_vmas")
int unmap(unsigned long long *context)
{
	struct mmu_gather *tlb = (void *)context[0];
	unsigned long start, end;

	/* Once told by arguments of its own: kdregd has looked whether it is these. */
	if (bpf_core_type_exists(struct unmap_desc)) {
		struct unmap_desc *what = (void *)context[1];

		start = what->vma_start;
		end = what->vma_end;
	} else {
		/* Or clang makes one load of both ways, at an address that no verifier takes. */
		asm volatile("%0 = *(u64 *)(%1 + 24)" : "=r"(start) : "r"(context));
		asm volatile("%0 = *(u64 *)(%1 + 32)" : "=r"(end) : "r"(context));
	}
	if (start < end)
		log_change((__u64)tlb->mm, start, end, 0);
	leave(UNMAP);
	return 0;
}

/* How many bytes of address space a folio takes. */
static __always_inline unsigned long folio_bytes(struct folio *folio)
{
	struct folio___newer *newer = (void *)folio;
	unsigned long flags, pages;

	if (bpf_core_field_exists(newer->flags.f))
		flags = BPF_CORE_READ(newer, flags.f);
	else
		flags = BPF_CORE_READ(folio, flags);
	/* Of a single page the number is not there to be read. */
	if (!(flags & (1UL << bpf_core_enum_value(enum pageflags, PG_head))))
		return PAGE_BYTES;
	if (bpf_core_field_exists(newer->_nr_pages))
		pages = BPF_CORE_READ(newer, _nr_pages);
	else
		pages = BPF_CORE_READ(folio, _folio_nr_pages);
	return pages * PAGE_BYTES;
}

/* These two flush later, and not always: reclaim and migration gather what is to be flushed. */
static __always_inline void folio_gone(struct folio *folio, struct vm_area_struct *vma,
				       unsigned long address)
{
	unsigned long bytes = folio_bytes(folio), end = vma->vm_end;

	if (bytes < end - address)
		end = address + bytes;
	log_change((__u64)vma->vm_mm, address, end, 0);
}

SEC("fexit/try_to_unmap_one")
int BPF_PROG(unmap_one, struct folio *folio, struct vm_area_struct *vma, unsigned long address)
{
	folio_gone(folio, vma, address);
	leave(UNMAP_ONE);
	return 0;
}

SEC("fexit/try_to_migrate_one")
int BPF_PROG(migrate_one, struct folio *folio, struct vm_area_struct *vma, unsigned long address)
{
	folio_gone(folio, vma, address);
	leave(MIGRATE_ONE);
	return 0;
}

#endif
