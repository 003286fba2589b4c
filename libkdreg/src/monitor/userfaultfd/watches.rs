// SPDX-License-Identifier: MIT OR Apache-2.0
//! What beginning and ending watches have in common.

use super::headroom::Headroom;
use super::thrift::Thrift;
use super::watched::Watched;

/// What is registered; behind the lock.
pub(super) struct Watches {
    pub watched: Watched,
    pub headroom: Headroom,
    pub thrift: Thrift,
}

impl Watches {
    pub const fn new() -> Watches {
        Watches {
            watched: Watched::new(),
            headroom: Headroom::new(),
            thrift: Thrift::new(),
        }
    }
}
