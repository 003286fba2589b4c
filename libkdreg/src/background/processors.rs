// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of processors, and which a thread may use.

/// Words of a set of processors: twice as many as Linux has been built for.
pub(super) const WORDS: usize = 256;

/// A set of processors, as the kernel reads it.
pub(super) type Processors = [u64; WORDS];

/// The processors that a thread may use; 0: the calling one. None: not to be
/// known.
pub(super) fn processors_of(thread: libc::pid_t) -> Processors {
    let mut own: Processors = [0; WORDS];
    // SAFETY: the kernel writes no more than it is told there is room for. The
    // system call itself: the C library's function has a type of fixed size.
    let length = unsafe {
        libc::syscall(
            libc::SYS_sched_getaffinity,
            thread,
            size_of_val(&own),
            own.as_mut_ptr(),
        )
    };
    // What the kernel did not write is 0.
    debug_assert!(length <= size_of_val(&own) as libc::c_long);
    own
}

/// Has the calling thread run on these processors. What is refused stays as it
/// is.
pub(super) fn set_own_processors(set: &Processors) {
    // SAFETY: reads a set of this many bytes.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(set),
            set.as_ptr(),
        )
    };
}
