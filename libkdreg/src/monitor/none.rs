// SPDX-License-Identifier: MIT OR Apache-2.0
//! The backend that watches nothing, so that nothing is ever cached: what is
//! left where neither the module nor userfaultfd can be had.

use super::backend::{Backend, Capabilities, Kind, Needs, RegionName, Subscriber};
use super::{Event, Region, Validity, eventfd};
use crate::errno::Errno;
use crate::range::Range;
use std::sync::atomic::AtomicU32;

pub(crate) struct Nothing;

impl Backend for Nothing {
    fn kind(&self) -> Kind {
        Kind::None
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::NONE
    }
    fn validity(&self, _relaxed: bool) -> Validity {
        Validity::SYNCHRONOUS
    }
    fn subscribe(&self) -> Result<Subscriber, Errno> {
        Ok(Subscriber {
            id: 0,
            event_fd: eventfd::new()?,
            poll_fd: None,
        })
    }
    fn unsubscribe(&self, _: &Subscriber) {}
    fn monitor(&self, _: &Subscriber, _: Range, _: u64, _: Needs) -> Result<Region, Errno> {
        Err(Errno::EOPNOTSUPP)
    }
    fn word(&self, _: RegionName) -> Option<&'static AtomicU32> {
        None
    }
    fn unmonitor(&self, _: RegionName) {}
    fn drain(&self, _: &Subscriber, _: &mut [Event]) -> usize {
        0
    }
}
