// SPDX-License-Identifier: MIT OR Apache-2.0
//! What stays registered when a program deregisters it, and why that is safe.
//!
//! `ibv_dereg_mr` is a program's word that nothing may reach the memory by
//! these keys any more: it will free it, and somebody else will write there. A
//! registration that stays must not let anything through that the real call
//! would have stopped. Who can still use its keys?
//!
//! **Peers** have the rkey from the program, and nobody here knows what they
//! have sent or will send: an RDMA write that is on its way looks like none.
//! So a registration with any right for peers is deregistered really; it is
//! not taken from a cache to begin with. `KDREG_VERBS_KEEP_REMOTE` is the
//! user's word that the peers of this program are done with a buffer before it
//! is deregistered, as those of an MPI library are, whose protocol tells each
//! side when. A registration without such rights has an rkey that opens
//! nothing.
//!
//! **The card**, for what this program posted. By the lkey it may
//!
//! * read, whatever the rights. What is sent from memory after it was
//!   deregistered is wrong data of a program that is wrong, and changes no
//!   memory.
//! * write, with the right to: receives, and the answers to reads and atomic
//!   operations. These are followed from the call that posts them to the
//!   completion that the program polls (`post`, `queues`, `keys`), by every
//!   key: a driver gives a key again, and what was posted by a registration
//!   that no cache had writes by the next one that has its key. A registration
//!   whose key was in none, or in those only that have completed or whose queue
//!   is gone, cannot be written by what was posted. While one
//!   is outstanding the registration is deregistered really, and the card
//!   answers with the error that it would have answered with. So it does for
//!   new work, when a program posts a key that it gave back, or that another
//!   thread gives back meanwhile: what stays by it is deregistered before the
//!   driver has the request (`kept`). Unless somebody has the same range and
//!   rights again by then, and with them the key, as could be on any card.
//!
//! What is followed is all there is, as far as is known of the device
//! ([`Sight`]). All of it, when this process opened the device by
//! `ibv_open_device`, so that each queue's work went through `post` from the
//! first on, and its driver is a plug-in of libibverbs's, so that no other way
//! leads to it. A driver that is a library of its own (mlx5, efa, ...) lets
//! programs write to its queues directly: then a registration stays only if
//! nothing in the process is linked with that library, and if work that went
//! through `post` named the key since the program has it, which a program does
//! not do for a buffer that it uses in the other way. Work queues, tag matching
//! and devices opened otherwise: nothing stays that can be written. Unless it
//! has rights for peers: then the user's word, by which it was made, is for this
//! program's unseen work as well.
//!
//! **Other users of the same registration.** Work that is outstanding names the
//! key, and not which of two users of the key posted it, and a registration
//! that somebody has cannot be deregistered. So one that the card may write to
//! is one program's buffer at a time: it is not merged with its neighbours, and
//! whoever registers the memory meanwhile gets one of its own.
//!
//! What stays is in no queue, and is found again for the same rights in the
//! same protection domain only, while its memory is what it was.

use crate::abi::{ACCESS_LOCAL_WRITE, ACCESS_REMOTE, ibv_context};
use crate::context::Sight;
use crate::counts::{self, Count};
use crate::registration::Registration;
use crate::{interpose, keys};

/// Whether a registration with these rights is one user's at a time.
pub fn is_sole(access: u32) -> bool {
    access & (ACCESS_LOCAL_WRITE | ACCESS_REMOTE) != 0
}

/// Gives a registration back that is one user's, if it may stay; else why not, and
/// the user has it still.
pub fn give_back(
    access: u32,
    context: *mut ibv_context,
    key: u32,
    found: &Registration,
) -> Result<(), &'static Count> {
    // With rights for peers it was made only with the user's word, which covers
    // what is not seen.
    let seen = access & ACCESS_REMOTE != 0
        || match interpose::sight(context) {
            Sight::All => true,
            Sight::Named => keys::was_named(context, key),
            Sight::Some => false,
        };
    if !seen && !keys::is_outstanding(context, key) {
        return Err(&counts::UNSEEN);
    }
    if seen && keys::take_back_if_done(context, key, || found.let_go()) {
        return Ok(());
    }
    Err(&counts::POSTED)
}
