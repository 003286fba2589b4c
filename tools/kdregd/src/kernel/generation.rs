// SPDX-License-Identifier: MIT OR Apache-2.0
//! One loading of the programs: maps, programs and links, and the directory that
//! keeps them while no kdregd runs.

use super::calls::{self, Attachment};
use super::clients;
use super::features::Features;
use super::ftrace;
use super::guarded;
use super::images::{self, Images};
pub use super::loaded::Generation;
use super::orders;
use super::pins;
use super::programs::{IMAGE, MAPS, Mode, PROGRAMS, Part, Program};
use crate::alone::Lock;
use anyhow::{Context, Result, bail};
use kdreg::monitor::bpf::abi;
use libbpf_rs::{MapCore, MapFlags, MapHandle, ObjectBuilder};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The object that clang made of `bpf/`, aligned as an ELF reader wants it.
#[repr(align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/kdreg.bpf.o")));

/// How often kernel.ftrace_enabled is read before nobody is taken to see it.
const READS: u32 = 100;

/// How long it waits in between.
const BETWEEN_READS: Duration = Duration::from_millis(1);

/// What this build's programs and layouts are called.
pub fn build_name() -> String {
    format!("{}-{}", abi::VERSION, env!("KDREGD_BUILD"))
}

/// And the one that is there while nothing can be attached.
pub fn idle_name() -> String {
    build_name() + pins::IDLE
}

impl Generation {
    /// The one that is pinned below `root`, if it is whole and alive; else one
    /// that is made now. Whether it had been there. `clients` is for a new one.
    /// While nothing can be attached: one that is dead from the beginning.
    pub fn open(
        root: &Path,
        features: &Features,
        clients: u32,
        lock: &Lock,
    ) -> Result<(Generation, bool)> {
        let directory = root.join(build_name());
        fs::create_dir_all(root).with_context(|| root.display().to_string())?;
        if ftrace::against().is_some() {
            // Whoever has a log in it has been told, unless nobody saw it coming.
            if let Ok(there) = Generation::reopen(&directory, features) {
                orders::end_all(&there)?;
                clients::wake_all(&there)?;
            }
            let idle = root.join(idle_name());
            pins::remove_all(&idle, lock)?;
            let generation = Generation::load(&idle, features, clients, &[], lock)?;
            orders::end_all(&generation)?;
            return Ok((generation, false));
        }
        if directory.exists() {
            match Generation::reopen(&directory, features) {
                Ok(generation) if !generation.is_dead()? => {
                    generation.watch_again()?;
                    return Ok((generation, true));
                }
                Ok(generation) => {
                    // It may have died while nobody was there to say so.
                    clients::wake_all(&generation)?;
                    generation.remove(lock)?;
                }
                Err(error) => {
                    eprintln!("kdregd: {}: {error:#}: made anew", directory.display());
                    pins::remove_all(&directory, lock)?;
                }
            }
        }
        let first = [Part::Always, Part::Guard, Part::Sysctl];
        let generation = Generation::load(&directory, features, clients, &first, lock)?;
        Ok((generation, false))
    }

    pub fn reopen(directory: &Path, features: &Features) -> Result<Generation> {
        let mut generation = Generation {
            directory: directory.to_owned(),
            maps: HashMap::new(),
            programs: HashMap::new(),
            links: HashMap::new(),
            passed: false,
        };
        for name in MAPS {
            let map = MapHandle::from_pinned_path(pins::of_map(directory, name)).context(name)?;
            generation.maps.insert(name, map);
        }
        for program in PROGRAMS.iter().filter(|program| features.wanted(program)) {
            let name = program.name;
            let fd = calls::pinned(&pins::of_program(directory, name)).context(name)?;
            generation.programs.insert(name, fd);
            match calls::pinned(&pins::of_link(directory, name)) {
                Ok(link) => {
                    generation.links.insert(name, link);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // A mode's programs come when they are wanted.
                    let optional = matches!(program.part, Part::Mode(_) | Part::Pass | Part::Tool)
                        || directory.to_string_lossy().ends_with(pins::IDLE);
                    if !optional {
                        bail!("{name} is not attached");
                    }
                }
                Err(error) => return Err(error).context(name),
            }
        }
        Ok(generation)
    }

    /// Loads all, and attaches what is of these parts.
    fn load(
        directory: &Path,
        features: &Features,
        clients: u32,
        first: &[Part],
        lock: &Lock,
    ) -> Result<Generation> {
        // Under another name until it is whole.
        let mut unfinished = directory.as_os_str().to_owned();
        unfinished.push(pins::UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        pins::remove_all(&unfinished, lock)?;
        // A BPF file system has no dots in names.
        fs::create_dir(&unfinished).with_context(|| {
            format!(
                "{}: cannot keep anything there; is a BPF file system mounted (mount -t bpf bpf /sys/fs/bpf)?",
                unfinished.display()
            )
        })?;
        let mut object = ObjectBuilder::default()
            .name("kdreg")?
            .open_memory(&OBJECT.0)?;
        for mut program in object.progs_mut() {
            let name = program.name().to_string_lossy().into_owned();
            let wanted = PROGRAMS
                .iter()
                .any(|known| known.name == name && features.wanted(known));
            program.set_autoload(wanted);
        }
        for mut map in object.maps_mut() {
            if ["logs", "wakes"].iter().any(|name| map.name() == *name) {
                map.set_max_entries(clients)?;
            }
        }
        let object = object.load().context("the kernel refuses the programs")?;
        let mut generation = Generation {
            directory: unfinished.clone(),
            maps: HashMap::new(),
            programs: HashMap::new(),
            links: HashMap::new(),
            passed: false,
        };
        for map in object.maps() {
            let Some(name) = MAPS.into_iter().find(|name| map.name() == *name) else {
                continue;
            };
            let mut handle = MapHandle::try_from(&map)?;
            handle
                .pin(pins::of_map(&unfinished, name))
                .with_context(|| format!("cannot pin map {name} in {}", unfinished.display()))?;
            generation.maps.insert(name, handle);
        }
        for program in object.progs() {
            let Some(known) = PROGRAMS.iter().find(|known| program.name() == known.name) else {
                bail!("{:?} is not a program we know", program.name());
            };
            if features.wanted(known) {
                let fd = program.as_fd().try_clone_to_owned()?;
                calls::pin(fd.as_fd(), &pins::of_program(&unfinished, known.name))?;
                generation.programs.insert(known.name, fd);
            }
        }
        generation.begin_guard()?;
        let first = PROGRAMS
            .iter()
            .filter(|program| first.contains(&program.part));
        generation.attach(first.filter(|program| features.wanted(program)))?;
        fs::rename(&unfinished, directory)
            .with_context(|| format!("cannot name {}", directory.display()))?;
        generation.directory = directory.to_owned();
        Ok(generation)
    }

    /// Writes the guard's first word. From then on user space can write no more.
    fn begin_guard(&self) -> Result<()> {
        let guard = abi::Guard {
            magic: abi::GUARD_MAGIC,
            version: abi::VERSION,
            ..Default::default()
        };
        // SAFETY: plain integers without padding (abi.rs checks its size).
        let bytes: [u8; size_of::<abi::Guard>()] = unsafe { std::mem::transmute(guard) };
        let map = self.map("guard");
        map.update(&0u32.to_ne_bytes(), &bytes, MapFlags::ANY)?;
        map.freeze()?;
        Ok(())
    }

    /// Attaches programs that are not yet: in this order, watched over before
    /// they run for the first time.
    fn attach<'a>(&mut self, programs: impl Iterator<Item = &'a Program>) -> Result<()> {
        let new: Vec<&Program> = programs
            .filter(|program| program.target.is_some() && !self.links.contains_key(program.name))
            .collect();
        let known: Vec<&'static Program> = new
            .iter()
            .filter_map(|program| PROGRAMS.iter().find(|known| known.name == program.name))
            .collect();
        guarded::watch(self, &known)?;
        if known.iter().any(|program| program.name == IMAGE) {
            images::begin(self)?;
        }
        for program in known {
            let (how, target) = program.target.expect("filtered above");
            let link = attach_one(self.program(program.name), how, target)?;
            calls::pin(link.as_fd(), &pins::of_link(&self.directory, program.name))
                .with_context(|| format!("cannot pin the link of {}", program.name))?;
            // Behind its pin: one that had none would be missed by nobody.
            guarded::own(self, program, link.as_fd())?;
            self.links.insert(program.name, link);
        }
        Ok(())
    }

    /// Has the guard, and what sees links go, know all programs that are attached: one
    /// that was about to detach a mode may have been killed in the middle of it.
    fn watch_again(&self) -> Result<()> {
        let linked: Vec<&Program> = PROGRAMS
            .iter()
            .filter(|program| self.is_linked(program))
            .collect();
        guarded::watch(self, &linked)?;
        for program in linked {
            guarded::own(self, program, self.links[program.name].as_fd())?;
        }
        Ok(())
    }

    /// Attaches what a mode needs, if it is not. Not if nothing is certain any more:
    /// who made it so removes the names, and another's may be there by now.
    pub fn attach_mode(&mut self, mode: Mode, lock: &Lock) -> Result<()> {
        if self.is_dead()? {
            bail!("nothing is certain any more");
        }
        if let Some(why) = ftrace::against() {
            bail!(why);
        }
        self.attach(
            PROGRAMS
                .iter()
                .filter(|program| program.part == Part::Mode(mode)),
        )?;
        match mode {
            Mode::Notifier => Ok(()),
            Mode::Flush => self.settle(lock),
        }
    }

    /// Once programs are attached at ends of functions: whoever was inside has left.
    /// Fails with `EBUSY` where that is not so yet.
    fn settle(&mut self, lock: &Lock) -> Result<()> {
        if orders::images(self)?.depended_on {
            return Ok(());
        }
        if !self.passed {
            images::pass(self)?;
            self.passed = true;
        }
        match images::depend(self)? {
            Images::One => return Ok(()),
            Images::Several => {}
            // Nobody knows any more: all over again.
            Images::Unknown => self.detach_mode(Mode::Flush, lock)?,
            // For who asks next: it might be so each time.
            Images::Absurd => {
                self.detach_mode(Mode::Flush, lock)?;
                bail!("what is attached at the ends of functions is not seen on this kernel");
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
            .context("somebody may be inside a function since before its end was seen")
    }

    /// Whether it is.
    pub fn is_attached(&self, mode: Mode) -> bool {
        PROGRAMS
            .iter()
            .filter(|program| program.part == Part::Mode(mode))
            .all(|program| self.links.contains_key(program.name))
    }

    /// Whether clients may depend on it.
    pub fn serves(&self, mode: Mode) -> Result<bool> {
        let settled = mode == Mode::Notifier || orders::images(self)?.depended_on;
        Ok(settled && self.is_attached(mode))
    }

    /// Detaches what a mode needs. There must not be a client who uses it. What is
    /// dead stays as it is, for who removes it.
    pub fn detach_mode(&mut self, mode: Mode, _lock: &Lock) -> Result<()> {
        if self.is_dead()? {
            return Ok(());
        }
        ftrace::permits_to_detach()?;
        let programs: Vec<&'static Program> = PROGRAMS
            .iter()
            .filter(|program| program.part == Part::Mode(mode))
            .collect();
        if mode == Mode::Flush {
            orders::release_images(self)?;
            self.passed = false;
        }
        // That these links go is not to be taken for a disaster.
        guarded::disown(self, &programs)?;
        // What sees images last: as long as another is there, they are counted.
        for program in programs.into_iter().rev() {
            if let Some(link) = self.links.remove(program.name) {
                drop(link);
                pins::remove(&pins::of_link(&self.directory, program.name))?;
            }
        }
        Ok(())
    }

    /// Whether all links are there that anybody depends on: none has been released, then,
    /// since one that is held cannot be.
    pub fn has_its_links(&self) -> Result<bool> {
        let ids = self.links.values().map(|link| calls::link_id(link.as_fd()));
        let held = ids.collect::<io::Result<Vec<u32>>>().context("a link")?;
        Ok(guarded::owned(self)?.iter().all(|id| held.contains(id)))
    }

    /// Whether its program sees what is written to kernel.ftrace_enabled: as it sees what
    /// is read, by the same function of the kernel's.
    pub fn sees_the_switch(&self) -> Result<bool> {
        for _ in 0..READS {
            let before = orders::switch_reads(self)?;
            let _ = ftrace::against();
            if orders::switch_reads(self)? != before {
                return Ok(true);
            }
            // It was left out, perhaps: for who was taken off this processor inside it,
            // and goes on now.
            std::thread::sleep(BETWEEN_READS);
        }
        Ok(false)
    }

    /// Takes all of it out of the kernel, save what clients have mapped. The
    /// guard is dead before the first program is gone: its programs see to that,
    /// and whoever means to do this has said so before.
    pub fn remove(self, lock: &Lock) -> Result<()> {
        pins::remove_all(&self.directory, lock)
    }
}

fn attach_one(program: BorrowedFd<'_>, how: Attachment, target: &str) -> Result<OwnedFd> {
    calls::attach(program, how).with_context(|| format!("cannot attach a program to {target}"))
}

#[cfg(test)]
mod tests;
