// SPDX-License-Identifier: GPL-2.0-only

//! Where regions live: slots, in chunks that are allocated as they are first needed and stay until
//! the descriptor is closed or its process ends.

use crate::{
    account::{Account, Charge},
    addresses::Addresses,
    change_mask::ChangeMask,
    status::StatePage,
    tree::Node,
};
use core::{cell::Cell, ptr::NonNull};
use kernel::{
    alloc::{flags::*, KVVec, VBox},
    error::{code::EINVAL, Result},
    sync::{
        atomic::{Atomic, Release},
        Arc,
    },
};

/// Slots in a chunk. Divides the number of words in a page of any size, so that the state words
/// of one chunk are in one page.
pub(crate) const CHUNK_SLOTS: usize = 256;

/// "No slot", in the lists that are threaded through the slots.
pub(crate) const NIL: u32 = u32::MAX;

/// The largest generation: 31 bits.
pub(crate) const GENERATION_MAX: u32 = u32::MAX >> 1;

/// What a slot is being used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Use {
    /// Nothing: on the free list, or never used, or retired.
    Free = 0,
    /// A monitored region: in a range tree and in the table of cookies.
    Active = 1,
    /// A region that changed; its event has not reached the client yet.
    Event = 2,
}

/// One region, and the event about it.
///
/// All zeroes is a valid, free slot. Only ever reached through shared references: the C code
/// writes to the node of any slot of a tree while it works on another one.
///
/// # Invariants
///
/// - `range` is in a range tree if and only if `usage` is [`Use::Active`].
/// - `chain`, `bucket` and `link` are each [`NIL`] or the index of a slot of the same [`Slots`] that
///   has memory.
/// - All fields but the node are accessed only under the lock of the [`Regions`] that owns the
///   slot.
///
/// [`Regions`]: crate::regions::Regions
#[repr(C)]
pub(crate) struct Slot {
    /// The addresses, in a range tree.
    pub(crate) range: Node,
    /// The client's name for the region.
    pub(crate) cookie: Cell<u64>,
    /// Next slot whose cookie falls into the same bucket.
    pub(crate) chain: Cell<u32>,
    /// Head of the chain of the bucket with the index of this slot.
    pub(crate) bucket: Cell<u32>,
    /// Next slot in the free list or in the list of events.
    pub(crate) link: Cell<u32>,
    /// Index of this slot.
    pub(crate) index: Cell<u32>,
    /// Generation of the current or last use; only ever grows.
    pub(crate) generation: Cell<u32>,
    /// What the client asked for; for an event, the answer.
    pub(crate) mask: Cell<ChangeMask>,
    usage: Cell<u8>,
    /// The tag of the address that the client gave.
    pub(crate) tag: Cell<u8>,
}

impl Slot {
    pub(crate) fn usage(&self) -> Use {
        match self.usage.get() {
            1 => Use::Active,
            2 => Use::Event,
            _ => Use::Free,
        }
    }

    pub(crate) fn set_usage(&self, usage: Use) {
        self.usage.set(usage as u8);
    }

    /// The value of the state word while this use of the slot is valid.
    pub(crate) fn valid_word(&self) -> u32 {
        (self.generation.get() << 1) | 1
    }

    /// The region's first byte, length and cookie, as the client gave them.
    pub(crate) fn region(&self) -> (u64, u64, u64) {
        let (start, last) = self.range.bounds();
        (
            Addresses::tagged(start, self.tag.get()),
            last - start + 1,
            self.cookie.get(),
        )
    }
}

/// [`CHUNK_SLOTS`] slots and the state words that go with them.
///
/// # Invariants
///
/// - `slots` points to an array of `CHUNK_SLOTS` initialised slots which this chunk owns and which
///   was allocated as a `VBox<[Slot; CHUNK_SLOTS]>`. It is kept as a raw pointer because the trees
///   hold pointers into it while the chunk itself is moved about.
/// - `words` points to `CHUNK_SLOTS` words of the page that `_page` keeps.
pub(crate) struct Chunk {
    slots: NonNull<[Slot; CHUNK_SLOTS]>,
    words: NonNull<[Atomic<u32>; CHUNK_SLOTS]>,
    _page: Arc<StatePage>,
    _charge: Charge,
}

// SAFETY: Slots are plain data and tree links, words are atomics; none is bound to a thread. Access
// to the slots is serialised by the lock around the `Regions` that own the chunk.
unsafe impl Send for Chunk {}

impl Chunk {
    /// Allocates chunk number `number`, whose state words are in `page`. May sleep.
    ///
    /// From the vmalloc area, where it takes the five pages that it needs, and not eight.
    pub(crate) fn new(
        number: usize,
        page: Arc<StatePage>,
        generation: u32,
        account: &Arc<Account>,
    ) -> Result<Self> {
        let charge = account.charge(size_of::<[Slot; CHUNK_SLOTS]>())?;
        let slots = VBox::<[Slot; CHUNK_SLOTS]>::new_uninit(GFP_KERNEL_ACCOUNT | __GFP_ZERO)?;
        // SAFETY: All zeroes is a valid `Slot`: the node is a C structure of pointers and
        // integers, everything else is an integer in a `Cell`.
        let slots = unsafe { slots.assume_init() };
        for (i, slot) in slots.iter().enumerate() {
            slot.index.set((number * CHUNK_SLOTS + i) as u32);
            slot.link.set(NIL);
            slot.chain.set(NIL);
            slot.bucket.set(NIL);
            slot.generation.set(generation);
        }
        // A chunk is all in one page.
        let words: &[Atomic<u32>; CHUNK_SLOTS] = page
            .words((number * CHUNK_SLOTS) % StatePage::WORDS, CHUNK_SLOTS)
            .try_into()
            .map_err(|_| EINVAL)?;
        let words = NonNull::from(words);
        // INVARIANT: The array was just allocated and initialised; we take over its ownership. The
        // words are those of `page`, which do not move when the reference to it does.
        Ok(Self {
            // SAFETY: `into_raw` never returns a null pointer.
            slots: unsafe { NonNull::new_unchecked(VBox::into_raw(slots)) },
            words,
            _page: page,
            _charge: charge,
        })
    }

    /// The slot with the given index, which is one of this chunk.
    fn slot(&self, index: u32) -> &Slot {
        // SAFETY: By the type invariants the array is alive and initialised. Its slots are never
        // reached through a mutable reference.
        unsafe { &self.slots.as_ref()[index as usize % CHUNK_SLOTS] }
    }

    /// The state word of that slot.
    fn word(&self, index: u32) -> Word<'_> {
        // SAFETY: By the type invariants the words are alive for as long as the chunk is.
        Word(unsafe { &self.words.as_ref()[index as usize % CHUNK_SLOTS] })
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the pointer came from a `VBox` of this type and is ours.
        // No tree is used any more when a chunk goes: see `Regions::take_chunks`.
        drop(unsafe { VBox::from_raw(self.slots.as_ptr()) });
    }
}

/// All slots of one descriptor.
pub(crate) struct Slots {
    chunks: KVVec<Option<Chunk>>,
    /// For the table of chunks; each of these has a charge of its own.
    _charge: Option<Charge>,
}

impl Slots {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVVec::new(),
            _charge: None,
        }
    }

    /// How many chunks `slots` slots need.
    pub(crate) fn chunks_for(slots: u32) -> usize {
        (slots as usize).div_ceil(CHUNK_SLOTS)
    }

    /// Room for `slots` slots, none of which has memory, for [`Slots::enlarge`]. May sleep.
    pub(crate) fn room_for(slots: u32, account: &Arc<Account>) -> Result<Self> {
        let count = Self::chunks_for(slots);
        let charge = account.charge(count * size_of::<Option<Chunk>>())?;
        let mut chunks = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            // Cannot reallocate: the capacity is there.
            chunks.push(None, GFP_KERNEL_ACCOUNT)?;
        }
        Ok(Self {
            chunks,
            _charge: Some(charge),
        })
    }

    /// Moves the chunks into `room` when that is the larger one. Whatever is left over is there
    /// afterwards, to be freed where sleeping is allowed.
    pub(crate) fn enlarge(&mut self, room: &mut Self) {
        if room.chunks.len() > self.chunks.len() {
            for (old, new) in self.chunks.iter_mut().zip(room.chunks.iter_mut()) {
                core::mem::swap(old, new);
            }
            core::mem::swap(self, room);
        }
    }

    /// Takes everything out, leaving no slot.
    pub(crate) fn take(&mut self) -> Self {
        core::mem::replace(self, Self::new())
    }

    /// Puts `chunk` in place `number`, unless there is one already; then it is handed back, to be
    /// freed where sleeping is allowed.
    pub(crate) fn install(&mut self, number: usize, chunk: Chunk) -> Option<Chunk> {
        match self.chunks.get_mut(number) {
            Some(place @ None) => {
                *place = Some(chunk);
                None
            }
            _ => Some(chunk),
        }
    }

    fn chunk(&self, index: u32) -> Option<&Chunk> {
        self.chunks.get(index as usize / CHUNK_SLOTS)?.as_ref()
    }

    /// The slot with the given index, if it has been allocated.
    pub(crate) fn get(&self, index: u32) -> Option<&Slot> {
        Some(self.chunk(index)?.slot(index))
    }

    /// The same with its state word.
    pub(crate) fn get_with_word(&self, index: u32) -> Option<(&Slot, Word<'_>)> {
        let chunk = self.chunk(index)?;
        Some((chunk.slot(index), chunk.word(index)))
    }

    /// The same for an index that is not looked up in vain.
    ///
    /// # Safety
    ///
    /// The slot with this index has memory.
    #[inline(always)]
    pub(crate) unsafe fn present(&self, index: u32) -> (&Slot, Word<'_>) {
        // SAFETY: The caller promises that the table goes that far and that the chunk is there.
        let chunk = unsafe {
            self.chunks
                .get_unchecked(index as usize / CHUNK_SLOTS)
                .as_ref()
                .unwrap_unchecked()
        };
        (chunk.slot(index), chunk.word(index))
    }

    /// The slot with an index that a list or a chain goes on with; none at its end.
    ///
    /// # Safety
    ///
    /// `index` was read from `link`, `chain` or `bucket` of one of these slots, or was put where it
    /// comes from as the index of a slot with memory, which only [`Slots::take`] takes away.
    #[inline(always)]
    pub(crate) unsafe fn listed(&self, index: u32) -> Option<(&Slot, Word<'_>)> {
        if index == NIL {
            return None;
        }
        // SAFETY: By the invariants of `Slot`, or by the caller's promise.
        Some(unsafe { self.present(index) })
    }
}

/// The state word of a slot.
pub(crate) struct Word<'a>(&'a Atomic<u32>);

impl Word<'_> {
    /// Makes the word valid, for a region that is being added. The lock of the [`Regions`] is held.
    ///
    /// Not a release: a client learns which value is valid when its system call returns, and passes
    /// it on to other threads by means of its own.
    ///
    /// [`Regions`]: crate::regions::Regions
    pub(crate) fn validate(self, value: u32) {
        // SAFETY: The word is alive and aligned. While regions are being added the kernel writes
        // words under the lock only (`Status` resets them when none is, nor can be), and never reads
        // them. Volatile makes this one store, as `WRITE_ONCE` does, which is all that user space
        // needs.
        unsafe { self.0.as_ptr().write_volatile(value) };
    }

    /// Release: pairs with the acquire load of the check in user space. Whoever sees the new word
    /// also sees what the kernel wrote before; and whoever is told of the change by someone who
    /// saw the call return, sees the new word.
    pub(crate) fn set(self, value: u32) {
        self.0.store(value, Release);
    }
}
