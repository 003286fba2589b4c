// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kdregd without BPF: its maps are files in memory, and its programs are
//! functions here that write them as the programs do.

use super::memory::Memory;
pub use super::memory::PAGE;
use kdreg::monitor::bpf::abi::{
    self, Challenge, Grant, Guard, Hello, LogEntry, LogHeader, Message, Proof,
};
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A loss, in the guard's word.
const EPOCH: u64 = 1 << abi::GUARD_EPOCH_SHIFT;

/// The ring's data.
const RING: usize = PAGE;

/// The machine's guard.
pub struct GuardMap(pub Memory);

impl GuardMap {
    pub fn new() -> GuardMap {
        let memory = Memory::new(size_of::<Guard>());
        memory
            .word(offset_of!(Guard, magic))
            .store(abi::GUARD_MAGIC, Ordering::Relaxed);
        memory
            .half(offset_of!(Guard, version))
            .store(abi::VERSION, Ordering::Relaxed);
        GuardMap(memory)
    }

    pub fn word(&self) -> &AtomicU64 {
        self.0.word(0)
    }

    /// A processor may miss changes from here on.
    pub fn raise(&self) {
        self.word().fetch_add(1, Ordering::SeqCst);
    }

    /// It does not any more; whether it has.
    pub fn lower(&self, lost: bool) {
        let epoch = if lost { EPOCH } else { 0 };
        self.word()
            .fetch_add(u64::wrapping_sub(epoch, 1), Ordering::SeqCst);
    }
}

/// The guard, when what sees programs go was left out, and when kdregd has looked.
impl GuardMap {
    pub fn hold(&self) {
        self.word().fetch_add(EPOCH, Ordering::SeqCst);
        self.word().fetch_or(abi::GUARD_HELD, Ordering::SeqCst);
    }

    pub fn let_go(&self) {
        let word = self.word().load(Ordering::SeqCst);
        let next = (word & !abi::GUARD_HELD) + EPOCH;
        self.word().store(next, Ordering::SeqCst);
    }
}

/// A client's log and ring.
pub struct Client {
    pub log: Memory,
    pub ring: Memory,
    pub capacity: u32,
    pub identity: u64,
}

impl Client {
    pub fn new(capacity: u32, mode: u32) -> Client {
        let log = Memory::new(abi::log_bytes(capacity));
        let identity = 0x1234_5678_9abc_def0;
        log.half(offset_of!(LogHeader, version))
            .store(abi::VERSION, Ordering::Relaxed);
        log.half(offset_of!(LogHeader, capacity))
            .store(capacity, Ordering::Relaxed);
        log.half(offset_of!(LogHeader, mode))
            .store(mode, Ordering::Relaxed);
        log.word(offset_of!(LogHeader, identity))
            .store(identity, Ordering::Relaxed);
        log.word(offset_of!(LogHeader, magic))
            .store(abi::LOG_MAGIC, Ordering::Release);
        Client {
            log,
            ring: Memory::new(2 * PAGE + RING),
            capacity,
            identity,
        }
    }

    pub fn tail(&self) -> &AtomicU64 {
        self.log.word(offset_of!(LogHeader, tail))
    }

    /// Takes a number.
    pub fn begin(&self) -> u64 {
        self.tail().fetch_add(1, Ordering::SeqCst)
    }

    /// Writes the entry with a number, and counts it.
    pub fn finish(&self, number: u64, start: usize, end: usize, change: u32) {
        self.fill(number, start, end, change);
        self.log
            .word(offset_of!(LogHeader, done))
            .fetch_add(1, Ordering::SeqCst);
        // One record at a time: its length, and eight bytes.
        let (consumer, producer) = (self.ring.word(0), self.ring.word(PAGE));
        if consumer.load(Ordering::SeqCst) == producer.load(Ordering::SeqCst) {
            producer.fetch_add(16, Ordering::SeqCst);
        }
    }

    pub fn fill(&self, number: u64, start: usize, end: usize, change: u32) {
        let index = number as usize & (self.capacity as usize - 1);
        let place = abi::LOG_ENTRIES + index * size_of::<LogEntry>();
        let sequence = self.log.word(place);
        sequence.store(2 * number + 1, Ordering::Relaxed);
        fence(Ordering::Release);
        self.log
            .word(place + 8)
            .store(start as u64, Ordering::Relaxed);
        self.log
            .word(place + 16)
            .store(end as u64, Ordering::Relaxed);
        self.log.half(place + 24).store(change, Ordering::Relaxed);
        sequence.store(2 * number + 2, Ordering::Release);
    }

    /// What a program does.
    pub fn change(&self, start: usize, end: usize, change: u32) {
        if self.tail().load(Ordering::SeqCst) & abi::LOG_DEAD == 0 {
            self.finish(self.begin(), start, end, change);
        }
    }

    pub fn die(&self) {
        self.tail().fetch_or(abi::LOG_DEAD, Ordering::SeqCst);
    }
}

/// What the daemon does with who connects, one after the other.
pub type Serve = Box<dyn FnMut(&Daemon, Connection) + Send>;

/// See the module's documentation.
pub struct Daemon {
    pub guard: GuardMap,
    path: PathBuf,
    listening: RawFd,
    /// The clients that were granted a log, the latest last.
    pub clients: Mutex<Vec<Arc<Client>>>,
    /// Connections that are kept open.
    pub open: Mutex<Vec<Connection>>,
}

impl Daemon {
    /// Listens where the library looks for it in this process.
    pub fn start(serve: Serve) -> Arc<Daemon> {
        Daemon::start_in(&std::env::temp_dir(), serve)
    }

    /// As `start`, in a directory.
    pub fn start_in(directory: &Path, mut serve: Serve) -> Arc<Daemon> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = directory.join(format!("kdreg-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listening = listen(&path);
        // SAFETY: tests that use a daemon run one at a time, and nobody else reads
        // the environment meanwhile.
        unsafe { std::env::set_var("KDREG_BPF_SOCKET", &path) };
        let daemon = Arc::new(Daemon {
            guard: GuardMap::new(),
            path,
            listening: listening.as_raw_fd(),
            clients: Mutex::default(),
            open: Mutex::default(),
        });
        let weak = Arc::downgrade(&daemon);
        std::thread::spawn(move || {
            loop {
                // SAFETY: no addresses are asked for.
                let fd = unsafe {
                    libc::accept4(
                        listening.as_raw_fd(),
                        std::ptr::null_mut(),
                        std::ptr::null_mut(),
                        libc::SOCK_CLOEXEC,
                    )
                };
                // SAFETY: it is new, and nobody else's.
                let connection = (fd >= 0).then(|| Connection(unsafe { OwnedFd::from_raw_fd(fd) }));
                let (Some(daemon), Some(connection)) = (weak.upgrade(), connection) else {
                    return;
                };
                serve(&daemon, connection);
            }
        });
        daemon
    }

    /// One that does what it should.
    pub fn honest(mode: u32, capacity: u32) -> Arc<Daemon> {
        Daemon::start(Daemon::serves(mode, capacity))
    }

    /// What such a one does.
    pub fn serves(mode: u32, capacity: u32) -> Serve {
        Box::new(move |daemon, connection| {
            enrol(daemon, connection, mode, capacity);
        })
    }

    pub fn client(&self) -> Arc<Client> {
        self.clients.lock().unwrap().last().unwrap().clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        // Ends the thread, which closes it.
        // SAFETY: no pointers.
        unsafe { libc::shutdown(self.listening, libc::SHUT_RDWR) };
    }
}

fn listen(path: &Path) -> OwnedFd {
    // SAFETY: plain structures and descriptors of our own.
    unsafe {
        let fd = libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0);
        assert!(fd >= 0);
        let fd = OwnedFd::from_raw_fd(fd);
        let mut address: libc::sockaddr_un = std::mem::zeroed();
        address.sun_family = libc::AF_UNIX as _;
        for (place, byte) in address
            .sun_path
            .iter_mut()
            .zip(path.to_str().unwrap().bytes())
        {
            *place = byte as _;
        }
        let length = size_of::<libc::sockaddr_un>() as _;
        assert_eq!(
            libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length),
            0
        );
        assert_eq!(libc::listen(fd.as_raw_fd(), 16), 0);
        fd
    }
}

/// The daemon's end of a connection.
pub struct Connection(OwnedFd);

impl Connection {
    pub fn receive(&self) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        // SAFETY: writes to a local buffer of that size.
        let length = unsafe {
            libc::recv(
                self.0.as_raw_fd(),
                bytes.as_mut_ptr().cast(),
                bytes.len(),
                0,
            )
        };
        bytes.truncate(usize::try_from(length).unwrap_or(0));
        bytes
    }

    /// Whether there is something to be received, or will be before long.
    pub fn is_readable(&self) -> bool {
        let mut polled = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one local structure. The limit is reached by a hang only.
        unsafe { libc::poll(&raw mut polled, 1, 60_000) == 1 }
    }

    /// Whether the other end has closed it, or does before long.
    pub fn is_closed(&self) -> bool {
        let mut polled = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one local structure. The limit is reached by a hang only.
        unsafe {
            libc::poll(&raw mut polled, 1, 60_000) == 1 && polled.revents & libc::POLLHUP != 0
        }
    }

    pub fn send(&self, bytes: &[u8], fds: &[RawFd]) {
        let mut vector = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut control = [0u64; 32];
        let length = size_of_val(fds);
        // SAFETY: local structures, laid out by the macros.
        unsafe {
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut vector;
            message.msg_iovlen = 1;
            if !fds.is_empty() {
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = libc::CMSG_SPACE(length as u32) as _;
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = libc::CMSG_LEN(length as u32) as _;
                std::ptr::copy_nonoverlapping(
                    fds.as_ptr().cast::<u8>(),
                    libc::CMSG_DATA(header),
                    length,
                );
            }
            libc::sendmsg(self.0.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL);
        }
    }
}

/// The nonce that is asked for.
pub const NONCE: u64 = 0xfeed_f00d_dead_beef;

/// The conversation up to the grant: what is to be granted, and its maps.
pub fn until_grant(connection: &Connection, mode: u32, capacity: u32) -> Option<(Grant, Client)> {
    let hello = Hello::from_bytes(&connection.receive())?;
    assert_eq!((hello.version, hello.flags), (abi::VERSION, 0));
    let capacity = if hello.capacity == 0 {
        capacity
    } else {
        hello.capacity.next_power_of_two()
    };
    let challenge = Challenge {
        header: Challenge::header(),
        nonce: NONCE,
        modes: 1 << mode,
        subscribed_modes: 0,
    };
    connection.send(challenge.as_bytes(), &[]);
    let proof = Proof::from_bytes(&connection.receive())?;
    assert_eq!(proof.mode, mode);
    assert_eq!(proof.nonce, NONCE);
    let client = Client::new(capacity, mode);
    let mut text = [0; 160];
    text[..4].copy_from_slice(b"fake");
    let grant = Grant {
        header: Grant::header(),
        mode,
        capacity,
        capabilities: u64::MAX,
        identity: client.identity,
        log_bytes: abi::log_bytes(capacity) as u64,
        guard_bytes: size_of::<Guard>() as u64,
        ring_bytes: RING as u64,
        text,
    };
    Some((grant, client))
}

/// All of it, by one that does what it should.
pub fn enrol(daemon: &Daemon, connection: Connection, mode: u32, capacity: u32) -> Option<()> {
    let (grant, client) = until_grant(&connection, mode, capacity)?;
    let fds = [&client.log, &daemon.guard.0, &client.ring].map(Memory::fd);
    daemon.clients.lock().unwrap().push(Arc::new(client));
    connection.send(grant.as_bytes(), &fds);
    daemon.open.lock().unwrap().push(connection);
    Some(())
}

/// Waits for something that another thread does; the limit is reached by a hang
/// only.
pub fn until(mut done: impl FnMut() -> bool) {
    let limit = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < limit, "waited in vain");
        std::thread::sleep(Duration::from_millis(1));
    }
}
