// SPDX-License-Identifier: MIT OR Apache-2.0
//! The page on which a process shows others what it caches.
//!
//! A process has one for each thread of the library's that can answer: the
//! reaper of its caches, and the handler of a userfaultfd.
//!
//! A memfd, found by its name among the process's descriptors, holds a text
//! that was written when somebody asked for it: asking is writing a byte into
//! a pipe, whose inode number is in the page. So nothing is written, counted
//! or woken while nobody looks. Who may open a descriptor through
//! `/proc/PID/fd` may look: root, and the same user where the process may be
//! traced (`ptrace(2)`, "access mode checking").
//!
//! The page is mapped, not written to by descriptor: an application that
//! closes descriptors it did not open can give the number to a file of its
//! own. The seals keep whoever opens it from shrinking it under the mapping.
//!
//! # Consistency
//! A sequence lock. The sequence is odd while the text changes, and a reader
//! who finds it odd, or different afterwards, reads again.

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use std::fmt;
use std::os::fd::{AsRawFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// What the memfd is called: `/proc/PID/fd` has `/memfd:kdreg-status (deleted)`.
pub const NAME: &std::ffi::CStr = c"kdreg-status";

/// The first word of the page.
pub const MAGIC: u64 = u64::from_le_bytes(*b"kdregst1");

/// Bytes of the whole page.
pub const SIZE: usize = 64 * 1024;

/// What the page begins with; the text follows.
#[repr(C)]
pub struct Header {
    /// [`MAGIC`].
    pub magic: u64,
    /// Inode number of the pipe that asks for a new text.
    pub requests: u64,
    /// Odd while the text changes; grows by two with each text.
    pub sequence: AtomicU64,
    /// Bytes of the text.
    pub length: AtomicU64,
}

/// The longest text.
pub const CAPACITY: usize = SIZE - size_of::<Header>();

/// What every text begins with.
pub(crate) fn describe_process(text: &mut dyn fmt::Write) -> fmt::Result {
    writeln!(
        text,
        "process pid={} version={}",
        std::process::id(),
        crate::VERSION
    )
}

/// A text of bounded length, made without allocating. What does not fit is cut
/// off.
pub(crate) struct ShortText {
    bytes: [u8; 1024],
    length: usize,
}

impl ShortText {
    pub const fn new() -> ShortText {
        ShortText {
            bytes: [0; 1024],
            length: 0,
        }
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.length]).unwrap_or("")
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.length..self.length + text.len());
        room.ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.length += text.len();
        Ok(())
    }
}

/// The writing side.
pub(crate) struct StatusPage {
    memory: NonNull<Header>,
    /// Keeps the page where others find it.
    _memfd: Descriptor,
    /// Readable when somebody asks.
    requests: Descriptor,
    /// Held so that the pipe is never without a writer, which polls as ready.
    _writer: Descriptor,
}

// SAFETY: the memory is the page's own, and written through `&mut self` only.
unsafe impl Send for StatusPage {}

impl StatusPage {
    /// A page without a text.
    pub fn new() -> Result<StatusPage, Errno> {
        let mut ends = [0; 2];
        // SAFETY: writes two descriptors into a local array.
        owned(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC | libc::O_NONBLOCK) })?;
        let [requests, writer] = ends.map(Descriptor::new);
        let inode = inode(&requests)?;
        let memfd = memfd()?;
        let memory = map(&memfd)?;
        // SAFETY: the mapping is of SIZE bytes, page-aligned, zeroed, and ours
        // alone to write.
        unsafe {
            memory.write(Header {
                magic: MAGIC,
                requests: inode,
                sequence: AtomicU64::new(0),
                length: AtomicU64::new(0),
            });
        }
        Ok(StatusPage {
            memory,
            _memfd: memfd,
            requests,
            _writer: writer,
        })
    }

    /// Readable when somebody asks for a text.
    pub fn requests(&self) -> RawFd {
        self.requests.as_raw_fd()
    }

    /// Takes the requests so far as answered by the next text. `false` when the
    /// application has closed the pipe: its number may be another file's by
    /// now, whose data is not ours to take.
    #[must_use]
    pub fn take_requests(&self) -> bool {
        // SAFETY: the mapping lives as long as this value.
        let ours = unsafe { self.memory.as_ref() }.requests;
        if inode(&self.requests) != Ok(ours) {
            return false;
        }
        let mut bytes = [0u8; 64];
        // SAFETY: reads into a local array; the pipe does not block.
        while unsafe { libc::read(self.requests(), bytes.as_mut_ptr().cast(), bytes.len()) } > 0 {}
        true
    }

    /// Shows a text, of which whole lines are kept when it is too long.
    pub fn publish(&mut self, text: &str) {
        self.publish_from(|out| {
            // What does not fit is left out.
            let _ = out.write_str(text);
        });
    }

    /// Shows what `write` writes: as above, and made in place, since there may
    /// be no memory to make it in.
    pub fn publish_from(&mut self, write: impl FnOnce(&mut dyn fmt::Write)) {
        // SAFETY: the mapping lives as long as this value.
        let header = unsafe { self.memory.as_ref() };
        let sequence = header.sequence.load(Ordering::Relaxed);
        header.sequence.store(sequence + 1, Ordering::Relaxed);
        // Release: readers who see any of the text see the odd sequence, or a
        // later one. Pairs with the acquire fence between a reader's text and
        // its second look at the sequence.
        fence(Ordering::Release);
        let mut text = TextInPage {
            // SAFETY: the text begins behind the header, inside the mapping.
            begin: unsafe { self.memory.add(1) }.cast(),
            length: 0,
            lines: 0,
            full: false,
        };
        write(&mut text);
        let length = if text.full { text.lines } else { text.length };
        header.length.store(length as u64, Ordering::Relaxed);
        // Release: pairs with a reader's acquire of the even sequence.
        header.sequence.store(sequence + 2, Ordering::Release);
    }
}

/// The text in the page while it is being written.
struct TextInPage {
    begin: NonNull<u8>,
    length: usize,
    /// As much of it as is whole lines.
    lines: usize,
    /// Something did not fit, and so nothing does any more.
    full: bool,
}

impl fmt::Write for TextInPage {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.full || text.len() > CAPACITY - self.length {
            self.full = true;
            return Err(fmt::Error);
        }
        // SAFETY: it fits in what is left of the mapping; readers of the same
        // bytes are other processes, who discard what was read meanwhile.
        unsafe {
            let target = self.begin.add(self.length);
            target.copy_from_nonoverlapping(NonNull::from(text.as_bytes()).cast(), text.len());
        }
        if let Some(end) = text.as_bytes().iter().rposition(|&byte| byte == b'\n') {
            self.lines = self.length + end + 1;
        }
        self.length += text.len();
        Ok(())
    }
}

impl Drop for StatusPage {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody else knows of it.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), SIZE) };
    }
}

/// The result of a call that gives -1 and errno.
fn owned(result: libc::c_int) -> Result<libc::c_int, Errno> {
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// What tells a descriptor's file from others of its kind.
fn inode(file: &Descriptor) -> Result<u64, Errno> {
    // SAFETY: plain data, filled by fstat.
    let mut about: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: writes a local variable.
    owned(unsafe { libc::fstat(file.as_raw_fd(), &raw mut about) })?;
    Ok(about.st_ino)
}

fn memfd() -> Result<Descriptor, Errno> {
    const MFD_NOEXEC_SEAL: libc::c_uint = 8;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a C string. Kernels before 6.3 do not know the
    // first flag.
    let fd = match owned(unsafe { libc::memfd_create(NAME.as_ptr(), flags | MFD_NOEXEC_SEAL) }) {
        // SAFETY: as above.
        Err(Errno::EINVAL) => owned(unsafe { libc::memfd_create(NAME.as_ptr(), flags) }),
        other => other,
    }?;
    let memfd = Descriptor::new(fd);
    let fd = memfd.as_raw_fd();
    let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
    // SAFETY: calls on our own descriptor, without pointers.
    unsafe {
        owned(libc::fchmod(fd, 0o600))?;
        owned(libc::ftruncate(fd, SIZE as libc::off_t))?;
        owned(libc::fcntl(fd, libc::F_ADD_SEALS, seals))?;
    }
    Ok(memfd)
}

fn map(memfd: &Descriptor) -> Result<NonNull<Header>, Errno> {
    // SAFETY: a new mapping affects no existing memory.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            SIZE,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            memfd.as_raw_fd(),
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(Errno::last());
    }
    // A forked child has caches of its own, and must not write here.
    // SAFETY: our own mapping.
    unsafe { libc::madvise(memory, SIZE, libc::MADV_DONTFORK) };
    Ok(NonNull::new(memory.cast()).expect("mmap does not give page 0"))
}
