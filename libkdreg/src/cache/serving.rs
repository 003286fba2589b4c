// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a miss registers, and what of it is served: merging, alignment, and why
//! neither brings in a page that is being discarded.
//!
//! # Discards
//! userfaultfd sends the event of a discard (madvise: DONTNEED,
//! DONTNEED_LOCKED, FREE, REMOVE) and has it read *before* the pages are taken,
//! and nothing tells when they are. A region that is armed between the two,
//! over pages that are registered before they go, is stale, and nobody notices.
//! So on a backend whose discards are not ordered
//! ([`Backend::discards_are_ordered`]) a watch that begins proves nothing of
//! pages that somebody may be discarding. What does is that a page is *asked
//! for*, since who asks `get` for memory must know that nobody takes it away
//! meanwhile: its registration would be of no use to them otherwise.
//!
//! Hence the rule: **an entry serves only pages that were asked for, each
//! watched without interruption since a moment at which it was asked for.** By
//! induction, for a miss that asks for A:
//! * the pages of A are asked for now, and watched before they are registered;
//! * any other page that the new entry U serves comes from an entry E that it
//!   is merged with. E is found live and unchanged once more *after* U is armed
//!   and after what had been read by then is in the words
//!   ([`Inner::may_still_merge`]). A discard of that page whose event was read
//!   before U was armed found E armed, which would have changed, or was
//!   under way when the page was asked for, which nobody does. One whose event
//!   is read later finds U armed.
//!
//! Nothing else enters a served range. What alignment above the page size adds
//! is registered and watched, but not served, and pages between ranges that
//! were asked for are not either: ranges are merged when what is *served*
//! touches. A page of a huge page that was asked for in part is served in
//! part, and only all of it can be discarded. More rights for a range are
//! a merge with the entry that has it. What is superseded is only dropped. And
//! a hit serves what it finds, watched since, whoever asked for it.
//!
//! A program that does ask for pages while another thread discards them, a pool
//! that is registered whole while its pages are given back, say, is what this
//! does not cover: see [`Backend::discarded_lately`].
//!
//! [`Backend::discards_are_ordered`]: crate::monitor::Monitor::discards_are_ordered
//! [`Backend::discarded_lately`]: crate::monitor::Monitor::discarded_lately

use super::Inner;
use super::asking::Terms;
use super::entries::Entry;
use super::request::Request;
use crate::range::{Range, page_size};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

impl Request {
    /// Whether nobody needs `entry` once this is registered.
    #[inline]
    pub(super) fn supersedes(&self, entry: &Entry) -> bool {
        self.served.contains(entry.served()) && entry.access() & !self.access == 0
    }
}

impl Inner {
    /// The pages of `range`, not widened further: a wide alignment may reach
    /// beyond what is mapped.
    #[inline(always)]
    pub(super) fn narrow(range: Range, access: u32, terms: Terms) -> Request {
        let pages = range.widened(page_size());
        Request {
            range: pages,
            served: pages,
            access,
            terms,
        }
    }

    /// What is registered for a request where there is nothing to merge it with.
    #[inline(always)]
    pub(super) fn bare(&self, narrow: Request) -> Request {
        let range = narrow.range.widened(narrow.terms.alignment());
        let served = if self.ordered { range } else { narrow.served };
        Request {
            range,
            served,
            ..narrow
        }
    }

    /// What is registered to serve a range that grew by merging.
    #[inline]
    fn registered(&self, served: Range, alignment: usize) -> Range {
        match self.ordered {
            true => served,
            false => served.widened(alignment),
        }
    }

    /// What to register for `bare`: together with what it overlaps, and with
    /// neighbours, as far as the limits on merging go.
    pub(super) fn merged(&self, bare: Request) -> Request {
        let state = self.state.lock();
        let mut request = bare;
        loop {
            let mut next = request;
            // One byte more on either side finds the neighbours.
            let from = request.range.start().saturating_sub(1);
            let _ = state.tree.overlapping::<()>(
                &state.links,
                from,
                request.range.end() + 1,
                &mut |index| {
                    let entry = self.entries.at(index);
                    if !entry.has_changed() && self.should_merge(bare, next, entry) {
                        next.served = next.served.hull(entry.served());
                        next.range = self.registered(next.served, bare.terms.alignment());
                        next.access |= entry.access();
                    }
                    ControlFlow::Continue(())
                },
            );
            if next == request {
                return request;
            }
            request = next;
        }
    }

    /// Whether what `merged` made of `bare` may be registered, now that its
    /// region is armed: the module's documentation says why it is asked.
    pub(super) fn may_still_merge(&self, bare: Request, merged: Request) -> bool {
        if self.ordered {
            return true;
        }
        // First what was read is in the words, then the entries are looked at.
        self.validity.settle() && {
            let again = self.merged(bare);
            // Larger is fine: it is served by live entries as well.
            again.served.contains(merged.served)
        }
    }

    /// Whether an entry was asked for as one that is not to be merged.
    #[inline]
    fn is_apart(&self, entry: &Entry) -> bool {
        self.has_extras.load(Ordering::Relaxed) && self.entries.extra_of(entry).is_apart()
    }

    /// Whether `request`, grown from `bare`, should take in an entry.
    #[inline(always)]
    pub(super) fn should_merge(&self, bare: Request, request: Request, entry: &Entry) -> bool {
        let (other, access) = (entry.served(), entry.access());
        if self.options.no_merge || bare.terms.no_merge() || self.is_apart(entry) {
            // The same range with other rights is one registration all the same.
            return other == bare.served;
        }
        let hull = request.served.hull(other);
        let length = self.registered(hull, bare.terms.alignment()).len();
        if length > self.options.max_merge.max(bare.range.len()) || length > self.options.max_bytes
        {
            return request.served.contains(other);
        }
        if request.served.overlaps(other) {
            return true;
        }
        // A neighbour is taken in while it is not much larger than what is
        // asked for: every byte is then registered again only when its
        // registration grows by half, so that filling memory from one end
        // costs O(n log n) bytes registered, not O(n^2).
        request.served.touches(other)
            && access == bare.access
            && other.len() / 2 <= bare.range.len()
    }
}
