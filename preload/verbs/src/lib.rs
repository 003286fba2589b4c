// SPDX-License-Identifier: MIT OR Apache-2.0
// Files, in reading order:
//   calls         the program's calls that make and end registrations
//   rereg         the one that changes them
//   registering   where a registration comes from, and what becomes of it
//   lazy_dereg    what may stay when it is given back, and why
//   wrapper       the `ibv_mr` that the program has
//   domain        the caches, by what their registrations agree in
//   registrar     what the caches call
//   registration  what they keep
//   kept          the same by its key, for who posts that
//   odp           registrations on demand
//   devices       the program's calls that open and end devices and queues
//   interpose     ours in the place of a driver's functions
//   driver        whether there is another way to the driver
//   context       the devices that are open
//   post          ours: posting and polling
//   qp_ex         ours: posting in pieces
//   driver_ops    what those stand in the place of
//   keys          what is outstanding by which key
//   queues        what is posted and has completed
//   libibverbs    libibverbs's functions
//   function      how one is found
//   abi           libibverbs's structures
//   kdreg         libkdreg's
//   watch         the process's monitor, and forked children
//   summary       what is said at the end
//   counts        what is counted for it
//   settings      what the user asks for
//   log           what is said
//   environment   variables
//   errno         the thread's
//   caller        who calls
//   objects       what the process has loaded
//   cancellation  threads that are cancelled
//   lock          a lock that is all zero at first
//   reserved      tables that take memory when they are used
//   memory        memory that may not be there
//! libkdreg-verbs.so: a registration cache for any verbs program, by
//! `LD_PRELOAD`.
//!
//! * A registration that may stay when it is deregistered (`lazy_dereg`) comes from a
//!   cache; the program gets an `ibv_mr` of its own (`wrapper`). Deregistering
//!   gives it back, and it stays registered until its memory changes or room is
//!   needed, or is deregistered really, when something may still arrive there.
//! * The rest, and what the cache cannot register, goes to libibverbs as the
//!   program asked for it. So a program never gets another error than it would
//!   have had.
//! * Before a protection domain or a device goes, so do its registrations.
//!
//! What is posted and polled is seen by functions in the place of the driver's
//! (`interpose`, `post`, `qp_ex`). Nothing else is set up before the first
//! registration.

mod abi;
mod caller;
mod calls;
mod cancellation;
mod context;
mod counts;
mod devices;
mod domain;
mod driver;
mod driver_ops;
mod environment;
mod errno;
mod function;
mod interpose;
mod kdreg;
mod kept;
mod keys;
mod lazy_dereg;
mod libibverbs;
mod lock;
mod log;
mod memory;
mod objects;
// The adaptor's own, which stands on nothing else of the library's.
#[path = "../../../libkdreg/src/adaptors/verbs/odp/mod.rs"]
mod odp;
mod post;
mod qp_ex;
mod queues;
mod registering;
mod registrar;
mod registration;
mod rereg;
mod reserved;
mod settings;
mod summary;
mod watch;
mod wrapper;
