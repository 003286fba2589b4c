// SPDX-License-Identifier: MIT OR Apache-2.0
//! What beginning and ending watches have in common.

use super::budget::Budget;
use super::headroom::Headroom;
use super::registered::Registered;

/// What is registered; behind the lock.
pub(super) struct Watches {
    pub registered: Registered,
    pub headroom: Headroom,
    pub budget: Budget,
}

impl Watches {
    pub const fn new() -> Watches {
        Watches {
            registered: Registered::new(),
            headroom: Headroom::new(),
            budget: Budget::new(),
        }
    }
}
