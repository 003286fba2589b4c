// SPDX-License-Identifier: MIT OR Apache-2.0
//! What belongs to one process, and to no child of it.
//!
//! A forked child inherits a copy of the library's memory, but none of its
//! threads, and descriptors that still act on the *parent's* address space.
//! So everything process-wide hangs off a pointer that lives in a
//! MADV_WIPEONFORK page: a child, however it was made (fork(), a raw clone),
//! finds it null and starts anew. Locks the parent held at that moment are in
//! the abandoned copy and can block nobody.
//!
//! `pthread_atfork` does the one thing that cannot wait: it closes, in the
//! child, the descriptors through which a child would keep the parent's
//! userfaultfd alive. (A raw clone skips this; see `monitor::userfaultfd` on
//! why that is safe too.)

use crate::errno::Errno;
use crate::memory;
use crate::range::page_size;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};

/// A process-wide value, made on first use in each process and never freed.
pub(crate) struct PerProcess<T> {
    /// The page that a child finds wiped; it holds the pointer to the value.
    page: AtomicPtr<AtomicPtr<T>>,
    /// The value again, for nobody: leak checkers do not look into the page.
    reachable: AtomicPtr<T>,
}

impl<T: Default + Sync> PerProcess<T> {
    pub const fn new() -> Self {
        PerProcess {
            page: AtomicPtr::new(std::ptr::null_mut()),
            reachable: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// The calling process's value. Fails only when memory cannot be mapped.
    #[inline]
    pub fn get(&self) -> Result<&'static T, Errno> {
        // Acquire: as in `cell`.
        let page = self.page.load(Ordering::Acquire);
        if !page.is_null() {
            // SAFETY: once published, the page is never unmapped.
            let cell = unsafe { &*page };
            // Acquire: pairs with the Release in `make`, which publishes the
            // contents.
            let value = cell.load(Ordering::Acquire);
            if !value.is_null() {
                // SAFETY: published values are leaked, never freed.
                return Ok(unsafe { &*value });
            }
        }
        self.make()
    }

    /// As `get`, for the first time in this process.
    #[cold]
    fn make(&self) -> Result<&'static T, Errno> {
        let cell = self.cell()?;
        let fresh = Box::into_raw(memory::try_box(T::default())?);
        match cell.compare_exchange(
            std::ptr::null_mut(),
            fresh,
            Ordering::Release,
            Ordering::Acquire,
        ) {
            Ok(_) => {
                self.reachable.store(fresh, Ordering::Relaxed);
                // SAFETY: published just now, never freed.
                Ok(unsafe { &*fresh })
            }
            // SAFETY: ours was never published, so it can be freed; the
            // winner's is published and never freed.
            Err(winner) => unsafe {
                drop(Box::from_raw(fresh));
                Ok(&*winner)
            },
        }
    }

    /// The pointer in the wiped page.
    fn cell(&self) -> Result<&'static AtomicPtr<T>, Errno> {
        // Acquire: pairs with the Release of the compare_exchange below.
        let page = self.page.load(Ordering::Acquire);
        if !page.is_null() {
            // SAFETY: once published, the page is never unmapped.
            return Ok(unsafe { &*page });
        }
        let length = page_size();
        // SAFETY: a new anonymous mapping affects no existing memory.
        let fresh = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if fresh == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // SAFETY: our own private anonymous page. (Linux 4.14 has WIPEONFORK.)
        if unsafe { libc::madvise(fresh, length, libc::MADV_WIPEONFORK) } != 0 {
            let error = Errno::last();
            // SAFETY: nobody else has seen the page.
            unsafe { libc::munmap(fresh, length) };
            return Err(error);
        }
        match self.page.compare_exchange(
            std::ptr::null_mut(),
            fresh.cast(),
            Ordering::Release,
            Ordering::Acquire,
        ) {
            // SAFETY: a zero page holds a null pointer, and is now published
            // for ever.
            Ok(_) => Ok(unsafe { &*fresh.cast() }),
            // SAFETY: nobody else has seen our page; the winner's is published.
            Err(winner) => unsafe {
                libc::munmap(fresh, length);
                Ok(&*winner)
            },
        }
    }
}

/// What tells a process from the copy of it that its child inherits.
struct Identity(u64);

static IDENTITY: PerProcess<Identity> = PerProcess::new();

/// The highest identity given out along this line of forks. Not wiped, so
/// that a child continues from its parent's.
static LAST_IDENTITY: AtomicU64 = AtomicU64::new(0);

impl Default for Identity {
    fn default() -> Self {
        // Relaxed: only uniqueness is needed.
        Identity(LAST_IDENTITY.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Marks an object as belonging to the process that made it.
#[derive(Clone, Copy)]
pub(crate) struct Home(u64);

impl Home {
    /// The calling process.
    pub fn here() -> Result<Home, Errno> {
        Ok(Home(IDENTITY.get()?.0))
    }

    /// Whether the calling process is the one that made the object; false in
    /// a forked child.
    #[inline]
    pub fn is_here(self) -> bool {
        IDENTITY.get().is_ok_and(|identity| identity.0 == self.0)
    }

    /// `ECHILD` in a forked child.
    #[inline]
    pub fn check(self) -> Result<(), Errno> {
        if self.is_here() {
            Ok(())
        } else {
            Err(Errno::ECHILD)
        }
    }
}

/// Has the process call `function` when it exits, once for all calls with this
/// `installed`: after what is given to atexit(3) from here on, and before what was. Where
/// there is no memory for it, it is not called.
pub(crate) fn at_exit(installed: &AtomicBool, function: extern "C" fn()) {
    // Relaxed: only one caller may see `false`.
    if !installed.swap(true, Ordering::Relaxed) {
        // SAFETY: registers a function that stays: the library is never
        // unmapped (-z nodelete).
        unsafe { libc::atexit(function) };
    }
}

/// A descriptor to be closed in a forked child.
struct Inherited {
    /// -1: free; -2: being filled.
    fd: AtomicI32,
    /// A [`StillOurs`].
    check: AtomicPtr<()>,
}

/// Whether a descriptor is still what it was: the application may have closed
/// it behind our back, and the number may be its own by now. Called in the
/// child of a fork: async-signal-safe calls only.
pub(crate) type StillOurs = fn(i32) -> bool;

/// Descriptors to be closed in a forked child.
///
/// A child that kept a userfaultfd open would keep its context alive after the
/// parent closed it, and then a munmap in the parent could wait for a reader
/// that no longer exists. The table is bounded because a fork handler must not
/// allocate or lock; monitors beyond it fall back on the unregistration that
/// closing a monitor does first.
static CLOSED_IN_CHILD: [Inherited; 256] = [const {
    Inherited {
        fd: AtomicI32::new(-1),
        check: AtomicPtr::new(std::ptr::null_mut()),
    }
}; 256];

/// Has `fd` closed in every child forked from now on, if it is still ours then.
pub(crate) fn close_in_child(fd: i32, still_ours: StillOurs) {
    // Not a Once: a child forked while it runs would wait for a thread it does
    // not have. Relaxed: only one caller may see `false`.
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    if !INSTALLED.swap(true, Ordering::Relaxed) {
        // SAFETY: registers a function without captured state. Failure (out of
        // memory) leaves only the raw-clone level of protection, until the next.
        let failed = unsafe { libc::pthread_atfork(None, None, Some(close_inherited)) } != 0;
        if failed {
            INSTALLED.store(false, Ordering::Relaxed);
        }
    }
    for place in &CLOSED_IN_CHILD {
        if place
            .fd
            .compare_exchange(-1, -2, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            place.check.store(still_ours as *mut (), Ordering::Relaxed);
            // Release: a fork that copies the descriptor copies its check.
            place.fd.store(fd, Ordering::Release);
            return;
        }
    }
}

/// Takes `fd` off the list; to be called before it is closed.
pub(crate) fn keep_in_child(fd: i32) {
    for place in &CLOSED_IN_CHILD {
        if place
            .fd
            .compare_exchange(fd, -1, Ordering::Release, Ordering::Relaxed)
            .is_ok()
        {
            return;
        }
    }
}

/// Runs in the child of fork(): async-signal-safe calls only.
extern "C" fn close_inherited() {
    for place in &CLOSED_IN_CHILD {
        let fd = place.fd.swap(-1, Ordering::Acquire);
        if fd < 0 {
            continue;
        }
        let check = place.check.load(Ordering::Relaxed);
        // SAFETY: only `close_in_child` stores checks, before the descriptor.
        let still_ours: StillOurs = unsafe { std::mem::transmute(check) };
        if still_ours(fd) {
            // SAFETY: the descriptor is this library's own, inherited from the
            // parent; the child's copy of its owner never uses or closes it
            // (`Home` says that it is not at home here).
            unsafe { libc::close(fd) };
        }
    }
}
