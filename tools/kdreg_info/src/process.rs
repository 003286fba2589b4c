// SPDX-License-Identifier: MIT OR Apache-2.0
//! A process seen from outside: its status pages, and what the kernel module
//! says of its descriptors.

use kdreg::status_page::{CAPACITY, Header, MAGIC, NAME};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

/// How long a process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What was found in a process.
pub struct Seen {
    /// The texts of its status pages: one for each copy of the library.
    pub texts: Vec<String>,
    /// The module's fdinfo of its device descriptors.
    pub devices: Vec<Device>,
    /// What to tell the user besides.
    pub notes: Vec<String>,
}

/// A descriptor of the kernel module's device.
pub struct Device {
    pub fd: String,
    /// `name: value`, in the module's order, without the common prefix.
    pub counts: Vec<(String, u64)>,
}

/// A status page of a process.
struct Page {
    memfd: File,
    requests: PathBuf,
}

/// Looks at a process.
pub fn look(pid: u32) -> Result<Seen, String> {
    let directory = PathBuf::from(format!("/proc/{pid}/fd"));
    let links = links(&directory).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => format!("there is no process {pid}"),
        Some(libc::EACCES | libc::EPERM) => format!(
            "process {pid} is another user's, or must not be looked into (prctl PR_SET_DUMPABLE): \
             only its own user and root may; try as root"
        ),
        _ => format!("{}: {error}", directory.display()),
    })?;
    let mut seen = Seen {
        texts: Vec::new(),
        devices: Vec::new(),
        notes: Vec::new(),
    };
    let page_name = format!("/memfd:{}", NAME.to_string_lossy());
    let mut pages = 0;
    for (fd, target) in &links {
        if target.strip_suffix(" (deleted)").unwrap_or(target) == page_name {
            pages += 1;
            match open(&directory.join(fd), &links, &directory).and_then(|page| page.ask()) {
                Ok(text) => take(pid, text, &mut seen),
                Err(what) => seen.notes.push(what),
            }
        } else if target.starts_with("/dev/kdreg") {
            seen.devices.extend(device(pid, fd));
        }
    }
    if pages == 0 && seen.devices.is_empty() {
        return Err(format!(
            "process {pid} has nothing of libkdreg's to show: it does not use the library, has no \
             monitor open, or its caches have no reaper (KDREG_CACHE_NO_REAPER)"
        ));
    }
    Ok(seen)
}

/// The process's descriptors and what they lead to.
fn links(directory: &Path) -> io::Result<Vec<(String, String)>> {
    let mut links = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        // One that was closed meanwhile is not there.
        if let Ok(target) = fs::read_link(entry.path()) {
            links.push((
                entry.file_name().to_string_lossy().into_owned(),
                target.to_string_lossy().into_owned(),
            ));
        }
    }
    links.sort_by_key(|(fd, _)| fd.parse::<u32>().unwrap_or(u32::MAX));
    Ok(links)
}

/// A forked child that has not opened its own still has its parent's page.
fn take(pid: u32, text: String, seen: &mut Seen) {
    let inner = text
        .lines()
        .next()
        .and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("pid=")))
        .map(str::to_owned);
    match inner {
        Some(inner) if !is_called(pid, &inner) => seen.notes.push(format!(
            "process {pid} was forked by {inner}, whose caches are not its own; it has none yet"
        )),
        Some(_) => seen.texts.push(text),
        None => seen
            .notes
            .push("a status page says nothing this version understands".into()),
    }
}

/// Whether a process has this number in its own pid namespace.
fn is_called(pid: u32, inner: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("NSpid:"))
        .and_then(|numbers| numbers.split_whitespace().last())
        .is_none_or(|own| own == inner)
}

fn open(memfd: &Path, links: &[(String, String)], directory: &Path) -> Result<Page, String> {
    let bad = |what: &str| format!("{}: {what}", memfd.display());
    let memfd_file = File::open(memfd).map_err(|error| bad(&error.to_string()))?;
    let header = header(&memfd_file).map_err(|error| bad(&error.to_string()))?;
    if header.magic != MAGIC {
        return Err(bad("another version of libkdreg wrote this status page"));
    }
    let pipe = format!("pipe:[{}]", header.requests);
    let (fd, _) = links
        .iter()
        .find(|(_, target)| *target == pipe)
        .ok_or(bad("the process has closed the library's descriptors"))?;
    Ok(Page {
        memfd: memfd_file,
        requests: directory.join(fd),
    })
}

/// The head of the page, as it was at some time.
struct Head {
    magic: u64,
    requests: u64,
    sequence: u64,
    length: usize,
}

fn header(memfd: &File) -> io::Result<Head> {
    let mut words = [0u8; size_of::<Header>()];
    memfd.read_exact_at(&mut words, 0)?;
    let word = |index: usize| {
        let bytes = words[8 * index..][..8].try_into();
        u64::from_ne_bytes(bytes.expect("eight bytes"))
    };
    Ok(Head {
        magic: word(0),
        requests: word(1),
        sequence: word(2),
        length: (word(3) as usize).min(CAPACITY),
    })
}

impl Page {
    /// Asks for a new text and waits for it.
    fn ask(&self) -> Result<String, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.requests.display());
        let before = header(&self.memfd).map_err(failed)?.sequence;
        // A text that was begun before we asked may lack what we ask for.
        let enough = before + 2 + (before & 1);
        let request = OpenOptions::new()
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.requests)
            .and_then(|mut pipe| pipe.write_all(b"?"));
        match request {
            // Full: others have asked already.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(failed(error)),
            _ => {}
        }
        let asked = Instant::now();
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(text) = self.read(enough).map_err(failed)? {
                return Ok(text);
            }
            if asked.elapsed() > PATIENCE {
                return Err(format!(
                    "the process did not answer within {} s: it is stopped, or its library's \
                     thread (kdreg-reaper) is busy in a deregistration",
                    PATIENCE.as_secs()
                ));
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    /// The text, if it is whole and at least as new as `enough`.
    fn read(&self, enough: u64) -> io::Result<Option<String>> {
        let head = header(&self.memfd)?;
        if head.sequence < enough || head.sequence % 2 == 1 {
            return Ok(None);
        }
        // Acquire: the text is read after the sequence that allows it, and
        // before the one that confirms it. Pairs with StatusPage::publish.
        fence(Ordering::Acquire);
        let mut bytes = vec![0; head.length];
        self.memfd
            .read_exact_at(&mut bytes, size_of::<Header>() as u64)?;
        fence(Ordering::Acquire);
        let unchanged = header(&self.memfd)?.sequence == head.sequence;
        Ok(unchanged.then(|| String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// What the module says of a descriptor.
fn device(pid: u32, fd: &str) -> Option<Device> {
    let text = fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).ok()?;
    let counts: Vec<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("kdreg-")?.split_once(':'))
        .filter_map(|(name, value)| Some((name.replace('-', "_"), value.trim().parse().ok()?)))
        .collect();
    (!counts.is_empty()).then(|| Device {
        fd: fd.to_owned(),
        counts,
    })
}
