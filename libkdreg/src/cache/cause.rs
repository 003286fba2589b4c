// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why entries are not to be found any more.

/// Why an entry is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Cause {
    /// Its mapping changed.
    Changed = 1,
    /// The caller said that its mapping changed.
    Invalidated = 2,
    /// Room was needed.
    Evicted = 3,
    /// A larger registration took its place.
    Superseded = 4,
    /// The caller wants everything dropped.
    Flushed = 5,
    /// The caller wants this one dropped.
    Dropped = 6,
    /// The backend stopped working: no entry, but all of them.
    Lost = 7,
}

impl Cause {
    pub(super) fn from_number(number: u8) -> Option<Cause> {
        const ALL: [Cause; 7] = [
            Cause::Changed,
            Cause::Invalidated,
            Cause::Evicted,
            Cause::Superseded,
            Cause::Flushed,
            Cause::Dropped,
            Cause::Lost,
        ];
        ALL.into_iter().find(|cause| *cause as u8 == number)
    }
}
