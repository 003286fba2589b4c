// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rights of a registration.

/// Access: the device may read the memory.
pub const KDREG_ACCESS_READ: u32 = 1u32;
/// Access: the device may write the memory.
pub const KDREG_ACCESS_WRITE: u32 = 2u32;
/// Access: peers may read the memory.
pub const KDREG_ACCESS_REMOTE_READ: u32 = 4u32;
/// Access: peers may write the memory.
pub const KDREG_ACCESS_REMOTE_WRITE: u32 = 8u32;
/// Access: peers may use atomic operations on the memory. Bits 16 to 31 are the caller's
/// own. An entry is found for what it has all bits of; what is registered in the place of
/// others has the bits of all of them, the caller's own as well: they are united by or.
/// No bits at all are found in whatever covers the range, and registered as no rights.
pub const KDREG_ACCESS_REMOTE_ATOMIC: u32 = 16u32;

/// Access bits a caller may use.
pub(super) const ACCESS: u32 = 0xffff_001f;
