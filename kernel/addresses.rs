// SPDX-License-Identifier: GPL-2.0-only

//! Addresses of user space, and the tags that may be on them.
//!
//! What the kernel announces are addresses without tags, so a region must be kept by such, or no
//! change would ever be found to overlap it. And a range that reaches out of user space is refused:
//! nothing of it could be mapped.

use kernel::mm::Mm;

/// The addresses that a process can have.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    /// The first address beyond.
    end: u64,
    /// The bits that are part of an address and not of its tag (Linear Address Masking).
    #[cfg(CONFIG_ADDRESS_MASKING)]
    mask: u64,
}

impl Addresses {
    /// Those of `mm`.
    #[inline(always)]
    pub(crate) fn of(mm: &Mm) -> Self {
        let raw = mm.as_raw();
        Self {
            // SAFETY: The structure is there. The size is set by exec, before there is anybody who
            // could open a device.
            end: unsafe { (*raw).__bindgen_anon_1.task_size } as u64,
            // SAFETY: The structure is there. A process chooses its tags once, and while another
            // thread does (arch_prctl), either value is fine.
            #[cfg(CONFIG_ADDRESS_MASKING)]
            mask: unsafe {
                (&raw const (*raw).__bindgen_anon_1.context.untag_mask).read_volatile()
            },
        }
    }

    /// The address without its tag, as the kernel's `untagged_addr()` does it.
    #[inline(always)]
    pub(crate) fn untag(self, addr: u64) -> u64 {
        // Top Byte Ignore: the hardware extends bit 55 over the byte above it. Addresses of the
        // kernel stay what they are.
        #[cfg(CONFIG_ARM64)]
        let addr = addr & (((addr << 8) as i64) >> 8) as u64;
        #[cfg(CONFIG_ADDRESS_MASKING)]
        let addr = addr & self.mask;
        addr
    }

    /// The tag of an address that is one of user space without it. Tags are in the top byte.
    #[inline(always)]
    pub(crate) fn tag(addr: u64) -> u8 {
        if cfg!(any(CONFIG_ARM64, CONFIG_ADDRESS_MASKING)) {
            (addr >> 56) as u8
        } else {
            0
        }
    }

    /// The address with its tag.
    pub(crate) fn tagged(addr: u64, tag: u8) -> u64 {
        addr | u64::from(tag) << 56
    }

    /// How many addresses there are from one without tag on: fewer than half of all that 64 bits
    /// can say.
    #[inline(always)]
    pub(crate) fn from(self, addr: u64) -> u64 {
        self.end.saturating_sub(addr)
    }
}
