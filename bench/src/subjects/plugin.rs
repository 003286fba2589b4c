// SPDX-License-Identifier: MIT OR Apache-2.0
//! Caches behind plugins/plugin.h, opened at run time.

use super::{Cache, Kind, NO_SUCH_THING, Setup, Subject};
use crate::layout::Key;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::time::Duration;

/// What follows is plugins/plugin.h.
const VERSION: u32 = 2;

#[repr(C)]
struct RawSetup {
    max_entries: usize,
    no_reaper: c_int,
}

// SAFETY: functions and constant strings of a library that stays loaded.
unsafe impl Sync for Raw {}

type Loop = unsafe extern "C" fn(*mut c_void, *const Key, usize) -> c_int;

#[repr(C)]
struct Raw {
    version: u32,
    variants: *const *const c_char,
    open: unsafe extern "C" fn(*const c_char, *const RawSetup, *mut c_char, usize) -> *mut c_void,
    close: unsafe extern "C" fn(*mut c_void),
    hit: Loop,
    find: Option<Loop>,
    invalidate: Option<unsafe extern "C" fn(*mut c_void, *mut c_void, usize) -> c_int>,
    watch: Option<Loop>,
    valid: Option<unsafe extern "C" fn(*mut c_void, usize, usize) -> usize>,
    delay: Option<unsafe extern "C" fn(*mut c_void, u64)>,
    registrations: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    library: Option<unsafe extern "C" fn() -> *const c_char>,
}

/// A plug-in stays loaded for ever: the libraries behind some of them do not
/// survive being unloaded.
type Plugin = &'static Raw;

struct Opened {
    plugin: Plugin,
    cache: *mut c_void,
}

// SAFETY: plugin.h lets several threads call everything but `close`, which
// runs in `drop`, when nobody else has the cache.
unsafe impl Send for Opened {}
// SAFETY: as above.
unsafe impl Sync for Opened {}

/// The plug-ins, by file name and with the name of what they open.
const PLUGINS: [(&str, &str, Kind); 6] = [
    ("kdreg", "libkdreg", Kind::Own),
    ("kdreg_verbs", "libkdreg", Kind::Own),
    ("valid", "kdreg_valid", Kind::Check),
    ("ucx", "UCX", Kind::Other),
    ("ucp", "UCX", Kind::Other),
    ("libfabric", "libfabric", Kind::Other),
];

/// Adds what the plug-ins in `directory` offer, and which libraries of others there are.
pub fn find(
    directory: &Path,
    found: &mut Vec<Subject>,
    absent: &mut Vec<(String, String)>,
    libraries: &mut Vec<String>,
) {
    for (file, library, kind) in PLUGINS {
        let path = directory.join(format!("plugin_{file}.so"));
        if !path.exists() {
            let why = format!("{} was not built", path.display());
            absent.push((format!("{library} ({file})"), why));
            continue;
        }
        match load(&path) {
            Ok(plugin) => {
                found.extend(subjects(plugin, library, kind));
                libraries.extend(version(plugin));
            }
            Err(why) => absent.push((format!("{library} ({file})"), why)),
        }
    }
}

fn load(path: &Path) -> Result<Plugin, String> {
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: a file of ours; its initialisers are those of the libraries it needs.
    let library = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        // SAFETY: after a failed dlopen there is a message, valid until the next call.
        return Err(unsafe { CStr::from_ptr(libc::dlerror()) }
            .to_string_lossy()
            .into_owned());
    }
    // SAFETY: a library that is open and never closed, and a C string.
    let symbol = unsafe { libc::dlsym(library, c"bench_plugin".as_ptr()) };
    if symbol.is_null() {
        return Err(format!("{} is no plug-in", path.display()));
    }
    // SAFETY: the symbol is a `struct bench_plugin` of a library that stays.
    let plugin = unsafe { &*symbol.cast::<Raw>() };
    if plugin.version == VERSION {
        Ok(plugin)
    } else {
        Err(format!(
            "{} is of another version: make bench again",
            path.display()
        ))
    }
}

/// Its library's name and version.
fn version(plugin: Plugin) -> Option<String> {
    let library = plugin.library?;
    // SAFETY: a function of a library that stays, which returns a C string of its own.
    let text = unsafe { CStr::from_ptr(library()) };
    Some(text.to_string_lossy().into_owned())
}

fn subjects(plugin: Plugin, library: &str, kind: Kind) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for place in 0.. {
        // SAFETY: the array ends with NULL.
        let variant = unsafe { *plugin.variants.add(place) };
        if variant.is_null() {
            break;
        }
        // SAFETY: a C string of a library that stays.
        let variant = unsafe { CStr::from_ptr(variant) };
        let name = format!("{library}: {}", variant.to_string_lossy());
        subjects.push(Subject::new(name, kind, move |setup| {
            open(plugin, variant, setup)
        }));
    }
    subjects
}

fn open(plugin: Plugin, variant: &CStr, setup: Setup) -> Result<Opened, String> {
    let setup = RawSetup {
        max_entries: setup.max_entries,
        no_reaper: setup.no_reaper.into(),
    };
    let mut why: [c_char; 256] = [0; 256];
    // SAFETY: as plugin.h says; `why` has the room it is said to have.
    let cache = unsafe { (plugin.open)(variant.as_ptr(), &setup, why.as_mut_ptr(), why.len() - 1) };
    if cache.is_null() {
        // SAFETY: the last byte was never written and is 0.
        let why = unsafe { CStr::from_ptr(why.as_ptr()) };
        return Err(why.to_string_lossy().into_owned());
    }
    Ok(Opened { plugin, cache })
}

/// A C result as a Rust one.
fn result(status: c_int) -> Result<(), String> {
    if status >= 0 {
        Ok(())
    } else {
        Err(std::io::Error::from_raw_os_error(-status).to_string())
    }
}

impl Opened {
    fn run(&self, body: Loop, keys: &[Key]) -> Result<(), String> {
        // SAFETY: an open cache and an array of keys, as plugin.h wants.
        result(unsafe { body(self.cache, keys.as_ptr(), keys.len()) })
    }
}

impl Cache for Opened {
    fn hit(&self, keys: &[Key]) -> Result<(), String> {
        self.run(self.plugin.hit, keys)
    }

    fn find(&self, keys: &[Key]) -> Result<(), String> {
        self.run(self.plugin.find.ok_or(NO_SUCH_THING)?, keys)
    }

    fn invalidate(&self, addr: usize, length: usize) -> Result<(), String> {
        let invalidate = self.plugin.invalidate.ok_or(NO_SUCH_THING)?;
        // SAFETY: as in `run`; the range is only looked up.
        result(unsafe { invalidate(self.cache, addr as *mut c_void, length) })
    }

    fn watch(&self, keys: &[Key]) -> Result<(), String> {
        self.run(self.plugin.watch.ok_or(NO_SUCH_THING)?, keys)
    }

    fn valid(&self, count: usize, times: usize) -> usize {
        // SAFETY: as in `run`; callers watched `count` keys before.
        self.plugin
            .valid
            .map_or(0, |valid| unsafe { valid(self.cache, count, times) })
    }

    fn delay(&self, each: Duration) -> Result<(), String> {
        let delay = self.plugin.delay.ok_or(NO_SUCH_THING)?;
        // SAFETY: as in `run`.
        unsafe { delay(self.cache, each.as_nanos() as u64) };
        Ok(())
    }

    fn registrations(&self) -> Option<u64> {
        // SAFETY: as in `run`.
        self.plugin
            .registrations
            .map(|registrations| unsafe { registrations(self.cache) })
            .filter(|&count| count != u64::MAX)
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // SAFETY: from `open`, closed once, and not in use: it is borrowed to be used.
        unsafe { (self.plugin.close)(self.cache) };
    }
}
