// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only the holder of the cache's lock touches of an entry: its place in
//! the eviction order, and the list that it is in.

use crate::errno::Errno;
use crate::interval_tree::{NIL, Node, Nodes};
use crate::memory::Share;
use crate::prefetch::prefetch;
use crate::range::Range;
use crate::reservation::{OnFork, Reservation, Zeroed};
use std::cell::UnsafeCell;

/// What the lock protects. All zero is a slot that was never used.
#[repr(C)]
pub(crate) struct Links {
    /// Below, in so many bits ([`BEFORE_BITS`]), where it is filed ([`Filing`]):
    /// 0: nowhere; [`IN_HEAP`]; else one more than the entry before it in the
    /// LRU queue. Of a slot that is not an entry yet: see [`UnderWay`]. Above,
    /// its height in the tree.
    before: u32,
    /// In the LRU heap: its place there. In the LRU queue, or in a list (free,
    /// retired, spared, under way), which no entry is that is filed: the next
    /// entry there.
    after: u32,
    /// Its place in the tree.
    node: Node,
}
const _: () = assert!(size_of::<Links>() == 40);

/// What is above has room for the height of any tree.
const BEFORE_BITS: u32 = 26;
const BEFORE: u32 = (1 << BEFORE_BITS) - 1;

/// No index plus one: there are fewer entries than that.
const IN_HEAP: u32 = BEFORE;

/// There are no more (`Options::capacity`).
pub(crate) const MAX_ENTRIES: usize = BEFORE as usize - 1;

/// Where an entry is in the eviction order (`lru`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Filing {
    /// It is not.
    None,
    /// In the queue, after this entry; the first one, after any.
    After(u32),
    /// In the heap, in this place.
    InHeap(u32),
}

/// Links, reached through the cache's lock only.
#[repr(transparent)]
struct LinksCell(UnsafeCell<Links>);

// SAFETY: zero is a valid Links, and it owns nothing.
unsafe impl Zeroed for LinksCell {}
// SAFETY: reached only through `EntryLinks`, of which there is one per array.
unsafe impl Sync for LinksCell {}
// SAFETY: plain data, not tied to a thread.
unsafe impl Send for LinksCell {}

/// The memory of the links, for who makes it usable; not to look at.
pub(crate) struct LinksMemory(Share<Reservation<LinksCell>>);

impl LinksMemory {
    /// Room for the links of `capacity` entries, and the one access to them,
    /// for the owner to keep under its lock.
    pub fn new(capacity: usize) -> Result<(LinksMemory, EntryLinks), Errno> {
        let links = Share::new(Reservation::new(capacity, OnFork::Copy)?)?;
        Ok((LinksMemory(links.clone()), EntryLinks { links }))
    }

    /// Makes the links below `count` usable. Not to be called under the lock.
    pub fn commit(&self, count: usize) -> Result<(), Errno> {
        self.0.commit(count)
    }

    /// How many are usable.
    pub fn committed(&self) -> usize {
        self.0.committed()
    }
}

/// Exclusive access to the links of all entries: kept inside the lock.
pub(crate) struct EntryLinks {
    links: Share<Reservation<LinksCell>>,
}

impl EntryLinks {
    /// Where an entry is filed.
    #[inline]
    pub fn filing(&self, index: u32) -> Filing {
        // SAFETY: the only EntryLinks there is, borrowed shared.
        let links = unsafe { &*self.filed_pointer(index) };
        match links.before & BEFORE {
            0 => Filing::None,
            IN_HEAP => Filing::InHeap(links.after),
            before => Filing::After(before - 1),
        }
    }

    #[inline]
    pub fn set_filing(&mut self, index: u32, filing: Filing) {
        // SAFETY: the only EntryLinks there is, borrowed exclusively.
        let links = unsafe { &mut *self.filed_pointer(index) };
        let before = match filing {
            Filing::None => 0,
            Filing::After(before) => before + 1,
            Filing::InHeap(place) => {
                links.after = place;
                IN_HEAP
            }
        };
        links.before = links.before & !BEFORE | before;
    }

    /// The entry after this one in its queue or list, or [`NIL`].
    #[inline]
    pub fn after(&self, index: u32) -> u32 {
        // SAFETY: the only EntryLinks there is, borrowed shared.
        unsafe { (*self.filed_pointer(index)).after }
    }

    #[inline]
    pub fn set_after(&mut self, index: u32, after: u32) {
        // SAFETY: the only EntryLinks there is, borrowed exclusively.
        unsafe { (*self.filed_pointer(index)).after = after };
    }

    #[inline]
    fn before(&self, index: u32) -> u32 {
        // SAFETY: the only EntryLinks there is, borrowed shared.
        unsafe { (*self.filed_pointer(index)).before & BEFORE }
    }

    #[inline]
    fn set_before(&mut self, index: u32, before: u32) {
        // SAFETY: the only EntryLinks there is, borrowed exclusively.
        let links = unsafe { &mut *self.filed_pointer(index) };
        links.before = links.before & !BEFORE | before;
    }

    /// Sets the range of an entry that is not in the tree.
    #[inline]
    pub fn set_range(&mut self, index: u32, range: Range) {
        *self.node_mut(index) = Node::new(range.start(), range.end());
    }

    /// Has the links of an entry brought near.
    #[inline]
    pub fn prefetch(&self, index: u32) {
        prefetch(self.filed_pointer(index));
    }

    /// The links of an entry that has been given out: what is filed or in a
    /// list, or a slot that was taken.
    #[inline(always)]
    fn filed_pointer(&self, index: u32) -> *mut Links {
        // SAFETY: such entries have been given out, and so are committed.
        unsafe { self.links.pointer_unchecked(index).cast() }
    }
}

impl Nodes for EntryLinks {
    #[inline(always)]
    fn node(&self, index: u32) -> &Node {
        // SAFETY: the only EntryLinks there is, borrowed shared.
        unsafe { &(*self.filed_pointer(index)).node }
    }

    #[inline(always)]
    fn node_mut(&mut self, index: u32) -> &mut Node {
        // SAFETY: the only EntryLinks there is, borrowed exclusively.
        unsafe { &mut (*self.filed_pointer(index)).node }
    }

    #[inline(always)]
    fn height(&self, index: u32) -> u8 {
        // SAFETY: the only EntryLinks there is, borrowed shared.
        unsafe { ((*self.filed_pointer(index)).before >> BEFORE_BITS) as u8 }
    }

    #[inline(always)]
    fn set_height(&mut self, index: u32, height: u8) {
        // SAFETY: the only EntryLinks there is, borrowed exclusively.
        let links = unsafe { &mut *self.filed_pointer(index) };
        links.before = links.before & BEFORE | u32::from(height) << BEFORE_BITS;
    }
}

/// The registrations that are being made, by their slots: a list that any can
/// be taken out of. In `before`, 0: not in it; [`FIRST`]; else one more than
/// the slot before it.
pub(crate) struct UnderWay {
    first: u32,
}

/// As [`IN_HEAP`], no index plus one.
const FIRST: u32 = IN_HEAP;

impl UnderWay {
    pub const NONE: UnderWay = UnderWay { first: NIL };

    pub fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Asks of every slot in it whether it is to stay.
    pub fn retain(&mut self, links: &mut EntryLinks, mut stays: impl FnMut(u32) -> bool) {
        let mut next = self.first;
        while next != NIL {
            let index = next;
            next = links.after(index);
            if !stays(index) {
                self.take(links, index);
            }
        }
    }

    /// Adds a slot that is in no list, nor filed.
    #[inline]
    pub fn add(&mut self, links: &mut EntryLinks, index: u32) {
        if self.first != NIL {
            links.set_before(self.first, index + 1);
        }
        links.set_before(index, FIRST);
        links.set_after(index, self.first);
        self.first = index;
    }

    /// Takes a slot out; `false` when it was not in any more.
    #[inline]
    pub fn take(&mut self, links: &mut EntryLinks, index: u32) -> bool {
        let (before, after) = (links.before(index), links.after(index));
        match before {
            0 => return false,
            FIRST => self.first = after,
            other => links.set_after(other - 1, after),
        }
        if after != NIL {
            links.set_before(after, before);
        }
        links.set_before(index, 0);
        true
    }
}

/// A list of entries linked through their links, first in, first out.
#[derive(Clone, Copy)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub const EMPTY: List = List {
        head: NIL,
        tail: NIL,
    };

    pub fn is_empty(&self) -> bool {
        self.head == NIL
    }

    pub fn first(&self) -> Option<u32> {
        (self.head != NIL).then_some(self.head)
    }

    /// Whether an entry of the list is its last.
    pub fn ends_with(&self, index: u32) -> bool {
        self.tail == index
    }

    pub fn push(&mut self, links: &mut EntryLinks, index: u32) {
        links.set_after(index, NIL);
        match self.tail {
            NIL => self.head = index,
            tail => links.set_after(tail, index),
        }
        self.tail = index;
    }

    /// Puts an entry in front of the others.
    pub fn push_first(&mut self, links: &mut EntryLinks, index: u32) {
        links.set_after(index, self.head);
        if self.head == NIL {
            self.tail = index;
        }
        self.head = index;
    }

    pub fn pop(&mut self, links: &mut EntryLinks) -> Option<u32> {
        let index = self.first()?;
        self.head = links.after(index);
        if self.head == NIL {
            self.tail = NIL;
        }
        Some(index)
    }
}
