// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which backend a monitor gets, and the sharing of it.
//!
//! All libraries in a process that use libkdreg share one backend of each
//! kind, counted by leases. The lock below covers choosing, making and ending
//! a shared backend, so that a new one is never made while the old one is
//! still letting go of the address space (a mapping has one userfaultfd at a
//! time). It is taken by no handler and held across no callback.

use super::backend::{Backend, Kind};
use super::bpf::Bpf;
use super::kernel::Kernel;
use super::none::Nothing;
use super::refusal::Refusal;
use super::userfaultfd::Userfaultfd;
use crate::environment;
use crate::errno::Errno;
use crate::lock::Mutex;
use crate::log::{self, Level};
use crate::memory::Share;
use crate::process::{Home, PerProcess};
use std::ops::Deref;
use std::ptr::NonNull;

/// The environment variable that overrides the choice of backend: `auto`, or
/// a name from [`Kind::name`].
pub const BACKEND_VARIABLE: &str = "KDREG_BACKEND";

/// How to open a [`Monitor`](super::Monitor).
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The backend to use; `None`: the strongest that works. The environment
    /// variable [`BACKEND_VARIABLE`], where set, overrides this.
    pub backend: Option<Kind>,
    /// A backend of its own instead of the one the process shares. Memory
    /// watched through a private userfaultfd cannot be watched through the
    /// shared one as well (`EBUSY`).
    pub private: bool,
    /// userfaultfd: do not ask, at each check, whether a change is in flight.
    /// Saves a system call per check; leaves a window in which another thread
    /// that is handed an address just unmapped still finds the old region
    /// valid.
    pub relaxed: bool,
    /// The most regions a private backend holds; 0: the most there can be.
    pub max_regions: u32,
}

/// The shared backends, by kind.
#[derive(Default)]
struct Shared {
    backends: Mutex<Backends>,
}

type Backends = [Option<Leased>; Kind::ALL.len()];

/// A shared backend and how many leases there are.
type Leased = (Share<dyn Backend>, usize);

static SHARED: PerProcess<Shared> = PerProcess::new();

fn place(kind: Kind) -> usize {
    kind as usize - 1
}

/// A share in a backend; the last one ends it.
pub(crate) struct Lease {
    /// `None` only while being dropped.
    backend: Option<Share<dyn Backend>>,
    /// What is shared: every miss would look for it in a value of unknown
    /// alignment.
    face: NonNull<dyn Backend>,
    /// Whether it is one of the process's shared backends.
    shared: bool,
    home: Home,
}

impl Deref for Lease {
    type Target = dyn Backend;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        // SAFETY: what `backend` is a share in, which does not move and is there
        // until this is dropped; `drop` does not look at it once it let go.
        unsafe { self.face.as_ref() }
    }
}

// SAFETY: as its share in the backend, which any thread may use and drop; the
// pointer is another way to the same.
unsafe impl Send for Lease {}
// SAFETY: as above.
unsafe impl Sync for Lease {}

impl Lease {
    fn new(backend: Share<dyn Backend>, shared: bool, home: Home) -> Lease {
        Lease {
            face: NonNull::from(&*backend),
            backend: Some(backend),
            shared,
            home,
        }
    }

    /// A lease on a backend that is nobody else's.
    pub fn private(backend: Share<dyn Backend>) -> Result<Lease, Errno> {
        Ok(Lease::new(backend, false, Home::here()?))
    }

    /// Another lease on the same backend.
    pub fn share(&self) -> Lease {
        if let (true, Ok(shared)) = (self.shared, SHARED.get()) {
            if let Some((_, leases)) = self.entry(&mut shared.backends.lock()) {
                *leases += 1;
            }
        }
        Lease {
            backend: self.backend.clone(),
            ..*self
        }
    }

    /// The entry of this backend, unless another one has replaced it.
    fn entry<'a>(&self, backends: &'a mut Backends) -> Option<&'a mut Leased> {
        let entry = backends[place(self.kind())].as_mut()?;
        let same = self
            .backend
            .as_ref()
            .is_some_and(|own| own.ptr_eq(&entry.0));
        same.then_some(entry)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.home.is_here() {
            // A child's copy of its parent's backend: its threads are not
            // here, and its locks may be held for ever. Leave it alone.
            std::mem::forget(self.backend.take());
            return;
        }
        if !self.shared {
            return;
        }
        let Ok(shared) = SHARED.get() else { return };
        let kind = self.kind();
        let mut backends = shared.backends.lock();
        if let Some((_, leases)) = self.entry(&mut backends) {
            *leases -= 1;
            if *leases == 0 {
                backends[place(kind)] = None;
            }
        }
        // The last one ends the backend here, under the lock.
        drop(self.backend.take());
    }
}

/// What the environment says.
fn requested(options: &Options) -> Result<Option<Kind>, Errno> {
    let Some(value) = environment::variable(c"KDREG_BACKEND") else {
        return Ok(options.backend);
    };
    match value.as_str() {
        "" => Ok(options.backend),
        "auto" => Ok(None),
        name => Kind::from_name(name).map(Some).ok_or_else(|| {
            log::say(
                Level::Error,
                format_args!(
                    "{BACKEND_VARIABLE}={name} is not auto, kernel, bpf, userfaultfd or none"
                ),
            );
            Errno::EINVAL
        }),
    }
}

/// A lease on the backend that `options` and the environment ask for.
pub(crate) fn acquire(options: &Options) -> Result<Lease, Errno> {
    if options.max_regions > super::state_words::MAX_REGIONS
        || (options.max_regions != 0 && !options.private)
    {
        return Err(Errno::EINVAL);
    }
    let requested = requested(options)?;
    if let Some(kind) = requested {
        return lease(kind, options).map_err(|refusal| {
            log::say(
                Level::Error,
                format_args!("backend {kind} does not work here: {refusal}"),
            );
            if is_want(refusal.error) {
                refusal.error
            } else {
                Errno::ENODEV
            }
        });
    }
    let mut refusals = [const { None }; Kind::ALL.len()];
    for kind in Kind::ALL {
        match lease(kind, options) {
            Ok(lease) => {
                if kind == Kind::None {
                    warn_of_none(&refusals);
                } else {
                    log::say(Level::Info, format_args!("using backend {kind}"));
                }
                return Ok(lease);
            }
            // What passes is no reason to do without for good.
            Err(refusal) if is_want(refusal.error) => {
                log::say(
                    Level::Warn,
                    format_args!("backend {kind} cannot be had: {refusal}"),
                );
                return Err(refusal.error);
            }
            Err(refusal) => {
                log::say(
                    Level::Info,
                    format_args!("not using backend {kind}: {refusal}"),
                );
                refusals[place(kind)] = Some(refusal);
            }
        }
    }
    let last = &refusals[place(Kind::None)];
    Err((last.as_ref()).map_or(Errno::ENODEV, |refusal| refusal.error))
}

/// Whether something is lacking that may be there another time.
fn is_want(error: Errno) -> bool {
    [libc::ENOMEM, libc::EMFILE, libc::ENFILE].contains(&error.value())
}

/// Says why nothing will be cached.
fn warn_of_none(refusals: &[Option<Refusal>]) {
    // Without the module and kdregd that is the ordinary case, and userfaultfd's
    // to make up for.
    let kind = Kind::Userfaultfd;
    if let Some(refusal) = &refusals[place(kind)] {
        log::say(
            Level::Warn,
            format_args!("not using backend {kind}: {refusal}"),
        );
    }
    log::say(
        Level::Warn,
        format_args!("using backend none: every transfer is registered for itself"),
    );
}

fn lease(kind: Kind, options: &Options) -> Result<Lease, Refusal> {
    if options.private {
        return Ok(Lease::private(make(kind, options.max_regions)?)?);
    }
    let shared = SHARED.get()?;
    let home = Home::here()?;
    let mut backends = shared.backends.lock();
    let entry = &mut backends[place(kind)];
    // One that died is left to those who have it.
    if entry
        .as_ref()
        .is_some_and(|(backend, _)| !backend.is_alive())
    {
        *entry = None;
    }
    let backend = match entry {
        Some((backend, leases)) => {
            *leases += 1;
            backend.clone()
        }
        None => {
            let backend = make(kind, 0)?;
            *entry = Some((backend.clone(), 1));
            backend
        }
    };
    Ok(Lease::new(backend, true, home))
}

/// Makes a backend.
pub(crate) fn make(kind: Kind, max_regions: u32) -> Result<Share<dyn Backend>, Refusal> {
    match kind {
        Kind::Kernel => Ok(Kernel::start(max_regions)?.unsize(|it| it)),
        Kind::Bpf => Ok(Bpf::start(max_regions)?.unsize(|it| it)),
        Kind::Userfaultfd => Ok(Userfaultfd::start(max_regions)?.unsize(|it| it)),
        Kind::None => Ok(Share::new(Nothing)?.unsize(|it| it)),
    }
}
