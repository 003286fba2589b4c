// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting a thread of the library's.
//!
//! By pthread_create(3) itself. Whoever starts one may hold the dynamic
//! loader's lock (an ELF constructor under dlopen), any lock of the
//! application's, or the only processor: nothing is waited for, and what a new
//! thread runs before its body, and after it, is a handful of system calls. It
//! takes no lock, allocates and frees nothing, and has no thread-local storage
//! that must be made first. (`std::thread` does all of that.)

use super::terms::{Given, Terms};
use crate::cancellation::{self, held_off};
use crate::errno::Errno;
use crate::log::{self, Level};
use crate::memory;
use crate::race_detector::unwatched;
use crate::unwinding;
use std::ffi::{CStr, c_int, c_void};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};

unsafe extern "C" {
    /// Declared here for the type of `start`: a callback that ends its thread
    /// (pthread_exit) unwinds it.
    fn pthread_create(
        thread: *mut libc::pthread_t,
        attributes: *const libc::pthread_attr_t,
        start: unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> c_int;
}

/// How large a stack the thread has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stack {
    /// Enough for code of the library's own.
    Small,
    /// As large as that of a thread that the application starts: for callbacks.
    Ordinary,
}

/// What a small stack is; and what an ordinary one is not below.
const SMALL: usize = 256 << 10;
const ORDINARY: usize = 1 << 20;
/// Below this there is no use in trying.
const LEAST: usize = 64 << 10;
/// Where thread-local storage that is part of the stack (programs have had
/// megabytes of it) wants more than this, something else is wrong.
const MOST: usize = 256 << 20;

/// A thread of the library's. Dropped, it is on its own.
pub(crate) struct Thread {
    thread: libc::pthread_t,
    _start: StartShare,
}

// SAFETY: a pthread_t may be used by any thread, and the start's count is atomic.
unsafe impl Send for Thread {}
// SAFETY: as above; `&Thread` only compares.
unsafe impl Sync for Thread {}

impl Thread {
    /// Waits for its end.
    pub fn join(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: joinable: neither joined nor detached before, since both take
        // the `Thread`. The share is dropped once.
        held_off(|| unsafe {
            libc::pthread_join(this.thread, std::ptr::null_mut());
            drop(std::ptr::read(&raw const this._start));
        });
    }

    /// Makes it a real-time thread of this priority.
    pub fn set_priority(&self, priority: c_int) -> Result<(), Errno> {
        // SAFETY: plain data.
        let mut parameters: libc::sched_param = unsafe { std::mem::zeroed() };
        parameters.sched_priority = priority;
        // SAFETY: a thread that was neither joined nor detached.
        match unsafe {
            libc::pthread_setschedparam(self.thread, libc::SCHED_FIFO, &raw const parameters)
        } {
            0 => Ok(()),
            error => Err(Errno::new(error)),
        }
    }

    /// Whether the calling thread is this one.
    pub fn is_current(&self) -> bool {
        // SAFETY: compares two identities.
        unsafe { libc::pthread_equal(self.thread, libc::pthread_self()) != 0 }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: joinable, as in `join`.
        unsafe { libc::pthread_detach(self.thread) };
    }
}

/// What a new thread begins with. Shared by it and its `Thread`; whoever is
/// last frees it. So a thread that somebody holds on to frees nothing: its
/// allocator's lock may be held by whoever waits for it.
struct Start {
    shares: AtomicU8,
    name: &'static CStr,
    terms: Terms,
    /// Frees it, of whatever type it is.
    free: unsafe fn(NonNull<Start>),
}

#[repr(C)]
struct StartOf<F> {
    start: Start,
    /// Moved out by the thread; not there any more when this is freed.
    body: MaybeUninit<F>,
}

struct StartShare(NonNull<Start>);

impl Drop for StartShare {
    fn drop(&mut self) {
        // SAFETY: alive as long as there is a share. AcqRel: whoever frees it
        // comes after whatever the other did with it.
        unsafe {
            if self.0.as_ref().shares.fetch_sub(1, Ordering::AcqRel) == 1 {
                (self.0.as_ref().free)(self.0);
            }
        }
    }
}

/// A thread's first frame, and its last: with nothing left to clean up, a thread
/// that was ended in a callback goes on to its end from here.
unsafe extern "C-unwind" fn enter<F: FnOnce()>(argument: *mut c_void) -> *mut c_void {
    cancellation::never();
    let start = argument.cast::<StartOf<F>>();
    // SAFETY: `spawn` gives the thread a share of a `StartOf<F>`, whose body
    // nobody else takes.
    let (share, body) = unsafe {
        (*start).start.terms.take_on((*start).start.name);
        (
            StartShare(NonNull::new_unchecked(start.cast())),
            (*start).body.assume_init_read(),
        )
    };
    // A panic is a bug of this library; its message went to standard error.
    drop(catch_unwind(AssertUnwindSafe(|| unwatched(body))));
    drop(share);
    unwinding::resume_held();
    std::ptr::null_mut()
}

/// Starts a thread of the library's: named, on the process's terms (`terms`),
/// with all signals blocked before its first instruction, so that it runs no
/// handler of the application's and a stray signal cannot interrupt it; and not
/// to be cancelled.
pub(crate) fn spawn<F: FnOnce() + Send + 'static>(
    name: &'static CStr,
    stack: Stack,
    body: F,
) -> Result<Thread, Errno> {
    unsafe fn free<F>(start: NonNull<Start>) {
        // SAFETY: made as a box of this type, below; nobody has it any more.
        drop(unsafe { Box::from_raw(start.cast::<StartOf<F>>().as_ptr()) });
    }
    let fresh = memory::boxed(StartOf {
        start: Start {
            shares: AtomicU8::new(2),
            name,
            terms: Terms::now(),
            free: free::<F>,
        },
        body: MaybeUninit::new(body),
    })
    .map_err(|(error, start)| {
        // SAFETY: no thread has taken it.
        drop(unsafe { start.body.assume_init() });
        error
    })?;
    let start = NonNull::from(Box::leak(fresh));
    // SAFETY: sigset_t is plain data, filled before it is used; changing the
    // calling thread's mask is undone below. (The C library leaves its own
    // signals alone, which setuid(2) needs in every thread.)
    let previous = unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        let mut previous: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut previous);
        previous
    };
    // SAFETY: the thread, when there is one, only reads them.
    let terms = unsafe { &start.as_ref().start.terms };
    let created = create(terms, stack, enter::<F>, start.as_ptr().cast());
    // SAFETY: restores the mask read above.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const previous, std::ptr::null_mut());
    }
    match created {
        Ok(thread) => Ok(Thread {
            thread,
            _start: StartShare(start.cast()),
        }),
        Err(error) => {
            // SAFETY: no thread has it.
            unsafe {
                drop(start.as_ref().body.assume_init_read());
                free::<F>(start.cast());
            }
            if error != Errno::EAGAIN {
                return Err(error);
            }
            // The C library says so of memory, too.
            log::say(
                Level::Warn,
                format_args!(
                    "the thread {} cannot be started: as many threads as there may be \
                     (RLIMIT_NPROC, pids.max), or no memory for its stack (RLIMIT_AS; \
                     RLIMIT_MEMLOCK where mlockall(MCL_FUTURE) locks it)",
                    name.to_str().unwrap_or_default()
                ),
            );
            Err(Errno::ENOMEM)
        }
    }
}

type Enter = unsafe extern "C-unwind" fn(*mut c_void) -> *mut c_void;

/// Creates a thread with as much of its own as can be had.
fn create(
    terms: &Terms,
    stack: Stack,
    enter: Enter,
    argument: *mut c_void,
) -> Result<libc::pthread_t, Errno> {
    let mut result = Err(Errno::EAGAIN);
    for given in Given::ALL {
        result = create_with((given, terms), stack, enter, argument);
        match result {
            // What may be the fault of what it is given, and not for lack of
            // anything.
            Err(error) if ![libc::EAGAIN, libc::ENOMEM].contains(&error.value()) => {}
            _ => break,
        }
    }
    result
}

/// As `create`, looking for a size of stack that can be had.
fn create_with(
    (given, terms): (Given, &Terms),
    stack: Stack,
    enter: Enter,
    argument: *mut c_void,
) -> Result<libc::pthread_t, Errno> {
    let mut attributes = Attributes::new()?;
    if !given.put_into(terms, &mut attributes.0) {
        return Err(Errno::ENOSYS);
    }
    let (mut size, mut grown) = match stack {
        Stack::Small => (SMALL, false),
        Stack::Ordinary => (attributes.stack().max(ORDINARY), false),
    };
    loop {
        let mut thread = MaybeUninit::uninit();
        attributes.set_stack(size);
        // SAFETY: initialised attributes; `enter` takes this argument, and the
        // thread is written when the call succeeds.
        let error = unsafe {
            pthread_create(
                thread.as_mut_ptr(),
                &raw const attributes.0,
                enter,
                argument,
            )
        };
        match error {
            // SAFETY: written by the call that succeeded.
            0 => return Ok(unsafe { thread.assume_init() }),
            // The program's thread-local storage does not fit.
            libc::EINVAL if size < MOST => {
                size *= 2;
                grown = true;
            }
            // As where all memory is locked (MCL_FUTURE) and that is limited:
            // of what is scarce the program keeps all that it can have, so it
            // is a small stack at once and not the largest that fits.
            libc::EAGAIN | libc::ENOMEM if !grown && size > SMALL => size = SMALL,
            libc::EAGAIN | libc::ENOMEM if !grown && size / 4 >= LEAST => size /= 4,
            error => return Err(Errno::new(error)),
        }
    }
}

/// Attributes of a thread to be.
struct Attributes(libc::pthread_attr_t);

impl Attributes {
    fn new() -> Result<Attributes, Errno> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initialises the attributes, or fails.
        match unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) } {
            // SAFETY: initialised just now. Not self-referential: a plain
            // structure that POSIX lets be anywhere once it is initialised.
            0 => Ok(Attributes(unsafe { attributes.assume_init() })),
            error => Err(Errno::new(error)),
        }
    }

    /// The size of the stack, which is the process's default at first.
    fn stack(&self) -> usize {
        let mut size = 0;
        // SAFETY: initialised attributes; writes a local variable.
        unsafe { libc::pthread_attr_getstacksize(&raw const self.0, &raw mut size) };
        size
    }

    fn set_stack(&mut self, size: usize) {
        // SAFETY: initialised attributes. A size that is refused leaves the
        // one before.
        unsafe { libc::pthread_attr_setstacksize(&raw mut self.0, size) };
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and not used any more.
        unsafe { libc::pthread_attr_destroy(&raw mut self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn runs_the_body_and_can_be_waited_for() {
        static RAN: AtomicBool = AtomicBool::new(false);
        let dropped = std::sync::Arc::new(());
        let held = dropped.clone();
        let thread = spawn(c"kdreg-test", Stack::Small, move || {
            let _held = held;
            RAN.store(true, Ordering::Relaxed);
        })
        .unwrap();
        assert!(!thread.is_current());
        thread.join();
        assert!(RAN.load(Ordering::Relaxed));
        assert_eq!(std::sync::Arc::strong_count(&dropped), 1);
    }

    #[test]
    fn takes_on_none_of_what_its_creator_has() {
        let creator = std::thread::spawn(|| {
            // SAFETY: settings of this thread alone, which ends with the test.
            unsafe {
                let mut one: libc::cpu_set_t = std::mem::zeroed();
                libc::sched_getaffinity(0, size_of_val(&one), &raw mut one);
                let first = (0..1024).find(|&cpu| libc::CPU_ISSET(cpu, &one)).unwrap();
                let all = libc::CPU_COUNT(&one);
                one = std::mem::zeroed();
                libc::CPU_SET(first, &mut one);
                assert_eq!(
                    libc::sched_setaffinity(0, size_of_val(&one), &raw const one),
                    0
                );
                libc::prctl(libc::PR_SET_TIMERSLACK, 1_000_000);
                let parameters: libc::sched_param = std::mem::zeroed();
                libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters);
                let (say, said) = std::sync::mpsc::channel();
                spawn(c"kdreg-test", Stack::Ordinary, move || {
                    let mut own: libc::cpu_set_t = std::mem::zeroed();
                    libc::sched_getaffinity(0, size_of_val(&own), &raw mut own);
                    say.send((
                        libc::CPU_COUNT(&own) == all,
                        libc::sched_getscheduler(0),
                        libc::prctl(libc::PR_GET_TIMERSLACK) != 1_000_000,
                    ))
                    .unwrap();
                })
                .unwrap()
                .join();
                said.recv().unwrap()
            }
        });
        assert_eq!(creator.join().unwrap(), (true, libc::SCHED_OTHER, true));
    }
}
