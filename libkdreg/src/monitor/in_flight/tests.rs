// SPDX-License-Identifier: MIT OR Apache-2.0
use super::*;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::null_mut;

/// `UFFDIO_API` and `UFFDIO_REGISTER` with their arguments.
const API: libc::Ioctl = libc::_IOWR::<[u64; 3]>(0xaa, 0x3f);
const REGISTER: libc::Ioctl = libc::_IOWR::<[u64; 4]>(0xaa, 0);
const EVENT_UNMAP: u64 = 1 << 6;
const MODE_MISSING: u64 = 1;
const USER_MODE_ONLY: libc::c_int = 1;
const PAGE: usize = 1 << 16;

fn request<T>(fd: RawFd, request: libc::Ioctl, argument: &mut T) -> bool {
    // SAFETY: the argument is what the request takes.
    unsafe { libc::ioctl(fd, request, std::ptr::from_mut(argument)) == 0 }
}

/// `None`, with a word, where this process can have none.
pub(in crate::monitor) fn userfaultfd() -> Option<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
    // SAFETY: takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        eprintln!("skipped: no userfaultfd here");
        return None;
    }
    // SAFETY: nobody else's.
    let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
    let made = request(fd.as_raw_fd(), API, &mut [0xaa, EVENT_UNMAP, 0]);
    assert!(made, "UFFDIO_API");
    Some(fd)
}

/// Has a descriptor's number stand for another file.
pub(in crate::monitor) fn replace(fd: &OwnedFd, with: &impl AsRawFd) {
    // SAFETY: takes no pointers; both are open.
    let number = unsafe { libc::dup2(with.as_raw_fd(), fd.as_raw_fd()) };
    assert_eq!(number, fd.as_raw_fd());
}

#[test]
fn a_userfaultfd_is_told_from_other_descriptors() {
    let Some(fd) = userfaultfd() else { return };
    assert!(is_userfaultfd(fd.as_raw_fd()));
    assert!(changes_in_flight(fd.as_raw_fd()) == InFlight::None);
    let file = File::open("/dev/null").unwrap();
    assert!(!is_userfaultfd(file.as_raw_fd()));
    assert!(!is_userfaultfd(-1));
    assert!(changes_in_flight(file.as_raw_fd()) == InFlight::Gone);
    assert!(changes_in_flight(-1) == InFlight::Gone);
}

#[test]
fn whose_number_it_is_now() {
    let (Some(fd), Some(other)) = (userfaultfd(), userfaultfd()) else {
        return;
    };
    let number = fd.as_raw_fd();
    let identity = Identity::of(number);
    assert_eq!(identity.whose(number), Whose::Ours);
    assert!(identity.answers(number));
    assert_eq!(identity.whose(-1), Whose::Another);
    // Where a filter refused to say, at first.
    assert_eq!(Identity(None).whose(number), Whose::Ours);
    let file = File::open("/dev/null").unwrap();
    let files = Identity::of(file.as_raw_fd());
    assert_eq!(files.whose(file.as_raw_fd()), Whose::Ours);
    assert!(!files.answers(file.as_raw_fd()), "what is no userfaultfd");
    replace(&fd, &other);
    assert_eq!(identity.whose(number), Whose::Another);
    assert!(!identity.answers(number));
    replace(&fd, &file);
    assert_eq!(identity.whose(number), Whose::Another);
    assert!(!identity.answers(number));
}

#[test]
fn a_change_is_in_flight_until_its_event_is_read() {
    let Some(fd) = userfaultfd() else { return };
    // SAFETY: new memory.
    let memory = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        libc::mmap(
            null_mut(),
            PAGE,
            prot,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    let start = memory as usize;
    let mut argument = [start as u64, PAGE as u64, MODE_MISSING, 0];
    assert!(
        request(fd.as_raw_fd(), REGISTER, &mut argument),
        "UFFDIO_REGISTER"
    );
    assert!(changes_in_flight(fd.as_raw_fd()) == InFlight::None);
    // SAFETY: memory of this test's, which nobody uses.
    let unmapping = std::thread::spawn(move || unsafe { libc::munmap(start as *mut _, PAGE) });
    while changes_in_flight(fd.as_raw_fd()) != InFlight::Some {
        assert!(!unmapping.is_finished(), "it has not waited for its event");
        std::thread::yield_now();
    }
    // Lets it go, as reading the event would.
    drop(fd);
    assert_eq!(unmapping.join().unwrap(), 0);
}
