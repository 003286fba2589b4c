// SPDX-License-Identifier: GPL-2.0-only

//! What the descriptors of a user cost: one limit for all of them together.
//!
//! The device is open to everybody, so what it makes the kernel allocate must have an end, as it has
//! for epoll (`max_user_watches`): by default the same part of memory, a 25th. Besides, everything is
//! charged to the control group of whoever causes it; but not everybody has one with a limit.
//!
//! The user is the real one of the process that opened the descriptor, whoever allocates by it later.
//! CAP_SYS_RESOURCE goes beyond the limit, as it does beyond those of pipes.

use crate::registry::{self, Registry};
use kernel::{
    bindings,
    ffi::c_int,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        global_lock, Arc,
    },
};

/// Part of memory that a user may have the kernel allocate, unless a module parameter says more.
const PART: u64 = 25;

global_lock! {
    // SAFETY: `init` is called before there is a device.
    unsafe(uninit) static USERS: Mutex<Registry<u32, User>> = Registry::new();
}

/// Bytes that a user may have.
static LIMIT: Atomic<u64> = Atomic::new(0);

/// To be called once, before there is a device. `limit` is 0 for the default.
pub(crate) fn init(limit: u64) {
    // SAFETY: The caller promises that this is the first and only call.
    unsafe { USERS.init() };
    // Relaxed: nobody else is there yet.
    LIMIT.store(if limit == 0 { default_limit() } else { limit }, Relaxed);
}

fn default_limit() -> u64 {
    let mut memory = bindings::sysinfo::default();
    // SAFETY: It fills in the structure.
    unsafe { bindings::si_meminfo(&mut memory) };
    memory.totalram as u64 * u64::from(memory.mem_unit) / PART
}

/// Bytes that a user may have.
pub(crate) fn limit() -> u64 {
    // Relaxed: it does not change any more.
    LIMIT.load(Relaxed)
}

/// A user with open descriptors, or with what is left of them.
struct User {
    used: Atomic<u64>,
}

/// Where the allocations for a descriptor are charged. The user's account is there while there is
/// one of these.
pub(crate) struct Account {
    uid: u32,
    user: Arc<User>,
}

impl Account {
    /// That of the current process. May sleep.
    pub(crate) fn of_current() -> Result<Arc<Self>> {
        let uid = current!().uid().into_raw().val;
        // Not inside a `match`, which would keep the lock.
        let known = USERS.lock().hold(&uid);
        let user = match known {
            Some(user) => user,
            None => {
                let user = Arc::new(
                    User {
                        used: Atomic::new(0),
                    },
                    GFP_KERNEL,
                )?;
                let entry = registry::entry(uid, user.clone())?;
                let mut users = USERS.lock();
                match users.hold(&uid) {
                    Some(other) => {
                        // Another descriptor was faster.
                        drop(users);
                        drop(entry);
                        other
                    }
                    None => {
                        users.add(entry);
                        user
                    }
                }
            }
        };
        // Should there be no memory for it, the holder is given back.
        let account = Self { uid, user };
        Ok(Arc::new(account, GFP_KERNEL)?)
    }

    /// Bytes that the user has.
    pub(crate) fn used(&self) -> u64 {
        // Relaxed: a statistic.
        self.user.used.load(Relaxed)
    }

    /// Charges what is about to be allocated; ENOSPC beyond the limit, as epoll has it.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Result<Charge> {
        let bytes = bytes as u64;
        // Relaxed: a count that nothing else depends on. What comes second of two finds the first
        // one counted.
        let before = self.user.used.fetch_add(bytes, Relaxed);
        // INVARIANT: The bytes have been added.
        let charge = Charge {
            account: self.clone(),
            bytes,
        };
        if before.saturating_add(bytes) > limit() && !may_go_beyond() {
            return Err(ENOSPC);
        }
        Ok(charge)
    }
}

/// Without a line in the audit log: whoever is refused could have many.
fn may_go_beyond() -> bool {
    // SAFETY: It can be called by any process, and the namespace is a static.
    unsafe {
        bindings::ns_capable_noaudit(
            &raw mut bindings::init_user_ns,
            bindings::CAP_SYS_RESOURCE as c_int,
        )
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let entry = USERS.lock().release(&self.uid);
        // Outside the lock.
        drop(entry);
    }
}

/// Bytes charged; given back when it goes.
///
/// # Invariants
///
/// `bytes` are part of what the account's user has.
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        // Subtracts: it wraps. Relaxed: as in `Account::charge`.
        let minus = self.bytes.wrapping_neg();
        let _ = self.account.user.used.fetch_add(minus, Relaxed);
    }
}
