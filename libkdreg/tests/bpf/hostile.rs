// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kdregd that says what makes no sense, or nothing: it is refused, nothing is
//! left behind, and nobody hangs.

use super::daemon::{Connection, Daemon, NONCE, enrol, until, until_grant};
use super::{alone, map, open, options, property};
use kdreg::errno::Errno;
use kdreg::log;
use kdreg::monitor::bpf::abi::{self, Challenge, Grant, Guard, LogHeader, Message, Proof, Refused};
use kdreg::monitor::{Kind, Monitor, probe};
use proptest::prelude::*;
use std::mem::offset_of;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is wrong.
#[derive(Clone, Debug)]
enum Wrong {
    /// A byte of the challenge, or of the grant.
    Challenge(usize, u8),
    Grant(usize, u8),
    /// So many bytes of it only.
    ChallengeLength(usize),
    GrantLength(usize),
    /// So many descriptors: too few, or more than there is room for.
    Descriptors(usize),
    /// Their order.
    Swapped(usize, usize),
    /// A byte of the log's header, or of the guard.
    Log(usize, u8),
    Guard(usize, u8),
    /// The log's file is so long.
    LogFile(u64),
    /// The connection ends before the challenge, or before the grant.
    End(bool),
    /// Something else than what is expected.
    Noise(Vec<u8>),
}

fn wrongs() -> impl Strategy<Value = Wrong> {
    let byte = 1u8..;
    prop_oneof![
        (0..size_of::<Challenge>(), byte.clone()).prop_map(|(at, with)| Wrong::Challenge(at, with)),
        (0..size_of::<Grant>() - 160, byte.clone()).prop_map(|(at, with)| Wrong::Grant(at, with)),
        (0..size_of::<Challenge>()).prop_map(Wrong::ChallengeLength),
        (0..size_of::<Grant>()).prop_map(Wrong::GrantLength),
        prop_oneof![0usize..3, 5usize..40].prop_map(Wrong::Descriptors),
        (0usize..2, 1usize..3).prop_map(|(one, step)| Wrong::Swapped(one, (one + step) % 3)),
        (0..offset_of!(LogHeader, done), byte.clone()).prop_map(|(at, with)| Wrong::Log(at, with)),
        (0..offset_of!(Guard, flags), byte).prop_map(|(at, with)| Wrong::Guard(at, with)),
        (0u64..2000).prop_map(Wrong::LogFile),
        any::<bool>().prop_map(Wrong::End),
        prop::collection::vec(any::<u8>(), 1..4000).prop_map(Wrong::Noise),
    ]
}

fn misbehave(daemon: &Daemon, connection: &Connection, wrong: &Wrong) {
    let mut challenge = Challenge {
        header: Challenge::header(),
        nonce: NONCE,
        modes: 1 << abi::MODE_NOTIFIER,
        subscribed_modes: 0,
    }
    .as_bytes()
    .to_vec();
    match wrong {
        Wrong::Challenge(at, with) => challenge[*at] ^= with,
        Wrong::ChallengeLength(length) => challenge.truncate(*length),
        Wrong::Noise(noise) => challenge.clone_from(noise),
        Wrong::End(true) => return,
        _ => {
            grant_badly(daemon, connection, wrong);
            return;
        }
    }
    connection.receive();
    connection.send(&challenge, &[]);
    connection.receive();
}

fn grant_badly(daemon: &Daemon, connection: &Connection, wrong: &Wrong) {
    let Some((grant, client)) = until_grant(connection, abi::MODE_NOTIFIER, 64) else {
        return;
    };
    let guard = super::daemon::GuardMap::new();
    let _ = daemon;
    let mut fds = vec![client.log.fd(), guard.0.fd(), client.ring.fd()];
    let mut bytes = grant.as_bytes().to_vec();
    let damage = |word: &std::sync::atomic::AtomicU64, at: usize, with: u8| {
        word.fetch_xor(u64::from(with) << (8 * (at % 8)), Ordering::SeqCst);
    };
    match wrong {
        Wrong::Grant(at, with) => bytes[*at] ^= with,
        Wrong::GrantLength(length) => bytes.truncate(*length),
        Wrong::Descriptors(count) => fds = fds.into_iter().cycle().take(*count).collect(),
        Wrong::Swapped(one, other) => fds.swap(*one, *other),
        Wrong::Log(at, with) => damage(client.log.word(at & !7), *at, *with),
        Wrong::Guard(at, with) => damage(guard.0.word(at & !7), *at, *with),
        Wrong::LogFile(length) => client.log.truncate(*length),
        _ => return,
    }
    connection.send(&bytes, &fds);
    connection.receive();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// What may be different and is nobody's fault: what was chosen, what is said of
/// capabilities, what was logged so far, and what is counted in the guard.
fn is_harmless(wrong: &Wrong) -> bool {
    let within = |at: &usize, start: usize, length: usize| (start..start + length).contains(at);
    match wrong {
        Wrong::Challenge(at, with) => {
            within(at, offset_of!(Challenge, nonce), 8)
                || within(at, offset_of!(Challenge, modes), 4)
                    && !(*at == offset_of!(Challenge, modes) && with & 2 != 0)
                || within(at, offset_of!(Challenge, subscribed_modes), 4)
        }
        Wrong::Grant(at, _) => {
            within(at, offset_of!(Grant, capabilities), 8)
                // A ring of other lengths is mapped no further than its positions.
                || within(at, offset_of!(Grant, ring_bytes), 8)
                || within(at, offset_of!(Grant, guard_bytes), 8)
        }
        Wrong::Log(at, with) => {
            within(at, offset_of!(LogHeader, tail), 8) && !(*at == 7 && with & 0x80 != 0)
                || within(at, offset_of!(LogHeader, flags), 4)
        }
        Wrong::Guard(at, with) => {
            within(at, offset_of!(Guard, word), 8) && !(*at == 7 && with & 0x80 != 0)
        }
        _ => false,
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let _alone = alone();
    // Each refusal is said: not here.
    log::set(Some(Arc::new(|_, _| ())), log::Level::Error).unwrap();
    property(256, wrongs(), |wrong| {
        let before = descriptors();
        let result = {
            let wrong = wrong.clone();
            let _daemon = Daemon::start(Box::new(move |daemon, connection| {
                misbehave(daemon, &connection, &wrong);
            }));
            Monitor::open(&options()).map(drop)
        };
        match result {
            Ok(()) => assert!(is_harmless(&wrong), "{wrong:?} was believed"),
            Err(error) => assert_eq!(error, Errno::ENODEV),
        }
        // Nothing was kept, once the daemon's thread has ended.
        until(|| descriptors() <= before);
    });
    log::set(None, log::Level::Warn).unwrap();
}

#[test]
fn a_refusal_says_why() {
    let _alone = alone();
    let _daemon = Daemon::start(Box::new(|_, connection| {
        connection.receive();
        let mut text = [0; 160];
        text[..25].copy_from_slice(b"too many clients\nof yours");
        let refused = Refused {
            header: Refused::header(),
            // Its own want, and not this process's.
            status: -libc::ENOMEM,
            reserved: 0,
            text,
        };
        connection.send(refused.as_bytes(), &[]);
    }));
    let probe = probe(Kind::Bpf);
    assert_eq!(probe.error.map(Errno::value), Some(libc::ENOBUFS));
    assert_eq!(probe.reason, "kdregd: too many clients");
    // And another backend is taken instead.
    let other = Monitor::open(&kdreg::monitor::Options::default()).unwrap();
    assert_ne!(other.kind(), Kind::Bpf);
}

/// What it says when all ranks of a node come at once, to who has not spoken yet; and
/// that a log of this address space is about to end. Both pass.
#[test]
fn what_passes_is_waited_for() {
    let _alone = alone();
    let mut before = 0;
    let daemon = Daemon::start(Box::new(move |daemon, connection| {
        before += 1;
        match before {
            1..=20 => {
                connection.send(refused(libc::EAGAIN).as_bytes(), &[]);
                // With the client's first message unread, or none come yet.
                if before % 2 == 0 {
                    connection.is_readable();
                }
            }
            21..=22 => {
                // Each time the better mode: that is not what is wrong.
                let both = 1 << abi::MODE_NOTIFIER | 1 << abi::MODE_FLUSH;
                assert_eq!(asked_for(&connection, both), Some(abi::MODE_NOTIFIER));
                connection.send(refused(libc::EBUSY).as_bytes(), &[]);
            }
            _ => drop(enrol(daemon, connection, abi::MODE_NOTIFIER, 64)),
        }
    }));
    drop(open());
    assert_eq!(daemon.clients.lock().unwrap().len(), 1);
}

fn refused(error: i32) -> Refused {
    Refused {
        header: Refused::header(),
        status: -error,
        reserved: 0,
        text: [0; 160],
    }
}

/// The conversation up to the proof: which of these modes it asks for.
fn asked_for(connection: &Connection, modes: u32) -> Option<u32> {
    connection.receive();
    let challenge = Challenge {
        header: Challenge::header(),
        nonce: NONCE,
        modes,
        subscribed_modes: 0,
    };
    connection.send(challenge.as_bytes(), &[]);
    Some(Proof::from_bytes(&connection.receive())?.mode)
}

/// It takes the connection and says nothing: a process waits for that once.
#[test]
fn silence_is_not_waited_for_for_ever() {
    let _alone = alone();
    let daemon = Daemon::start(Box::new(|daemon, connection| {
        daemon.open.lock().unwrap().push(connection);
    }));
    for _ in 0..3 {
        let probe = probe(Kind::Bpf);
        assert_eq!(probe.error.map(Errno::value), Some(libc::ETIMEDOUT));
    }
    assert_eq!(daemon.open.lock().unwrap().len(), 1);
    // Another is asked.
    let _other = Daemon::honest(abi::MODE_NOTIFIER, 64);
    drop(open());
}

/// Another user's, in a place where anybody may put it, and in its own.
#[test]
fn a_stranger_is_not_believed() {
    const STRANGER: libc::uid_t = 12345;
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        return; // cannot be two users
    }
    let _alone = alone();
    let directory = std::env::temp_dir().join(format!("kdreg-place-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o1777)).unwrap();
    let listen = || {
        std::thread::scope(|scope| {
            let daemon = scope.spawn(|| {
                // SAFETY: this thread's alone, by the number; it ends as that user.
                assert_eq!(
                    unsafe { libc::syscall(libc::SYS_setresuid, STRANGER, STRANGER, STRANGER) },
                    0
                );
                Daemon::start_in(&directory, Daemon::serves(abi::MODE_NOTIFIER, 64))
            });
            daemon.join().unwrap()
        })
    };
    let daemon = listen();
    let probe = probe(Kind::Bpf);
    assert_eq!(probe.error.map(Errno::value), Some(libc::EACCES));
    assert!(daemon.clients.lock().unwrap().is_empty());
    drop(daemon);
    std::os::unix::fs::chown(&directory, Some(STRANGER), None).unwrap();
    let daemon = listen();
    drop(open());
    drop(daemon);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn nobody_there_is_said_in_plain_words() {
    let _alone = alone();
    let gone = Daemon::honest(abi::MODE_NOTIFIER, 64);
    drop(gone);
    let probe = probe(Kind::Bpf);
    assert_eq!(probe.error, Some(Errno::ENODEV));
    assert!(
        probe.reason.contains("kdregd is not running"),
        "{}",
        probe.reason
    );
}

/// What a client asks for by its environment.
#[test]
fn the_environment_says_how_long_the_log_is() {
    let _alone = alone();
    let daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    for (value, capacity) in [("1000", Some(1024)), ("", Some(64)), ("many", None)] {
        // SAFETY: as in `Daemon::start`.
        unsafe { std::env::set_var("KDREG_BPF_LOG_ENTRIES", value) };
        let opened = Monitor::open(&options());
        // SAFETY: as above.
        unsafe { std::env::remove_var("KDREG_BPF_LOG_ENTRIES") };
        match capacity {
            Some(capacity) => {
                opened.unwrap();
                assert_eq!(daemon.client().capacity, capacity);
            }
            None => assert!(opened.is_err()),
        }
    }
    let region = open().monitor(map(4096), 1).unwrap();
    let _ = region;
}

/// How long it waits, too; for ever is not to be had.
#[test]
fn the_environment_says_how_long_kdregd_has() {
    let _alone = alone();
    let _daemon = Daemon::honest(abi::MODE_NOTIFIER, 64);
    for (value, opens) in [
        ("60", true),
        ("", true),
        ("0", false),
        ("3601", false),
        ("long", false),
    ] {
        // SAFETY: as in `Daemon::start`.
        unsafe { std::env::set_var("KDREG_BPF_TIMEOUT", value) };
        let opened = Monitor::open(&options());
        // SAFETY: as above.
        unsafe { std::env::remove_var("KDREG_BPF_TIMEOUT") };
        assert_eq!(opened.is_ok(), opens, "{value}");
    }
}
