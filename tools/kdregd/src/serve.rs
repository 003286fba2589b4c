// SPDX-License-Identifier: MIT OR Apache-2.0
//! From loading the programs to the last client, and what else is done with them.

use crate::alone::{Lock, Serving};
use crate::kernel::calls::is_still_attached;
use crate::kernel::features::Features;
use crate::kernel::ftrace;
use crate::kernel::generation::{self, Generation};
use crate::kernel::orders;
use crate::kernel::programs::Mode;
use crate::kernel::{self, remains};
use crate::options::Options;
use crate::proof::Proof;
use crate::selftest::trial;
use crate::server::Server;
use crate::server::clients::Clients;
use crate::server::events::{End, Loop};
use crate::server::listener::Listener;
use crate::server::signals;
use crate::{check as report, others};
use anyhow::Result;
use nix::poll::PollTimeout;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long the kernel may take, for each mode, to let go of what was detached, and for
/// whoever is inside a function to leave it. Who connects waits meanwhile.
const PATIENCE: Duration = Duration::from_secs(20);
/// In milliseconds.
const NAP: u8 = 20;

/// Each client keeps one. Started by hand a daemon has 4,096, as a rule; its unit says
/// as much as this.
const DESCRIPTORS: u64 = 65536;

/// Serves until a signal comes. Clients keep what they have.
pub fn serve(options: &Options) -> Result<i32> {
    signals::hold()?;
    kernel::quiet();
    let _serving = Serving::begin(&options.pins)?;
    // Before anything takes long: whoever connects meanwhile is kept waiting.
    let listener = Listener::open(&options.socket)?;
    let allowed = getrlimit(Resource::RLIMIT_NOFILE)?.1;
    let most = allowed.max(DESCRIPTORS);
    setrlimit(Resource::RLIMIT_NOFILE, most, most)
        .or_else(|_| setrlimit(Resource::RLIMIT_NOFILE, allowed, allowed))?;
    let mut alone = Lock::take(&options.pins)?;
    loop {
        let features = Features::find()?;
        // It may be written to just now: goes round then, and waits.
        let Some(generation) = unless_forbidden(open(options, &features, &alone))? else {
            continue;
        };
        // What is there now is found by who uninstalls.
        drop(alone);
        let mut server = begin(options, features, generation, &options.pins);
        server.others = others::in_use(&options.pins, &server.features);
        let mut end = match server.generation.is_dead()? {
            true => End::Dead,
            false => try_modes(options, &mut server)?,
        };
        for mode in Mode::ALL {
            match server.proofs.get(&mode).map(Proof::against) {
                Some(None) => say(&format!(
                    "mode {}: {}",
                    mode.name(),
                    server.proofs[&mode].summary()
                )),
                Some(Some(why)) => say(&format!("mode {} is not offered: {why}", mode.name())),
                None => {
                    if let Some(why) = server.refused.get(&mode) {
                        say(&format!("mode {} is not offered: {why}", mode.name()));
                    }
                }
            }
        }
        if end == End::Done {
            let alone = Lock::take(&options.pins)?;
            others::retire(&options.pins, &server.features, &alone);
            drop(alone);
            say("ready");
            end = Loop::new(&mut server, Some(&listener))?.run(None)?;
        }
        if end != End::Dead {
            return Ok(0);
        }
        kernel::clients::wake_all(&server.generation)?;
        if !settle(&mut server, &listener)? {
            return Ok(0);
        }
        // Until there is something new to be found: nobody uninstalls in between.
        alone = Lock::take(&options.pins)?;
        if server.generation.is_uninstalled()? {
            say("uninstalled: ends");
            // What is left by one that was killed while it uninstalled, or could not.
            unless_forbidden(server.generation.remove(&alone))?;
            // The lock's, if nobody else has anything there by now.
            let _ = std::fs::remove_dir(&options.pins);
            return Ok(0);
        }
        say(
            "nothing is certain any more (programs were detached, or are about to be): begins anew",
        );
        // Or it stays, dead, until it is found again.
        unless_forbidden(server.generation.remove(&alone))?;
    }
}

/// What was done; `None`: the kernel's ftrace forbids that now, which is said.
fn unless_forbidden<T>(done: Result<T>) -> Result<Option<T>> {
    match done {
        Err(error) if ftrace::forbade(&error) => {
            say(&format!("{error:#}"));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Waits until programs can be attached and detached: `false`, until a signal came.
fn settle(server: &mut Server, listener: &Listener) -> Result<bool> {
    if !server.features.ftrace_switch || server.generation.is_uninstalled()? {
        return Ok(true);
    }
    // Who has just written there may do so again.
    sleep(ftrace::SETTLED);
    let Some(why) = ftrace::against() else {
        return Ok(true);
    };
    say(&format!(
        "{why}; nothing is certain, nor can be, until it is 1"
    ));
    server.rest(why);
    let end = Loop::new(server, Some(listener))?.run(None)?;
    Ok(end != End::Signal)
}

/// A line for the log.
fn say(text: &str) {
    eprintln!("kdregd: {text}");
}

/// Loads what is to be loaded, or finds it.
fn open(options: &Options, features: &Features, lock: &Lock) -> Result<Generation> {
    let clients = options.limits.clients;
    let (generation, found) = Generation::open(&options.pins, features, clients, lock)?;
    if found {
        say("goes on with the programs that are loaded");
    }
    Ok(generation)
}

fn begin(options: &Options, features: Features, generation: Generation, pins: &Path) -> Server {
    Server {
        generation,
        others: Vec::new(),
        pins: pins.to_owned(),
        features,
        limits: options.limits,
        clients: Clients::default(),
        proofs: BTreeMap::new(),
        refused: BTreeMap::new(),
        settling: None,
    }
}

/// Tries the modes. Anything but `Done`: there is no need to know any more.
fn try_modes(options: &Options, server: &mut Server) -> Result<End> {
    if server.features.ftrace_switch && !server.generation.sees_the_switch()? {
        let why = "what is written to kernel.ftrace_enabled is not seen on this kernel";
        server.refuse_all(why);
        return Ok(End::Done);
    }
    for mode in Mode::ALL {
        if !options.modes.contains(&mode) {
            server.refused.insert(mode, "not asked for".into());
        } else if let Some(why) = server.features.against(mode) {
            server.refused.insert(mode, why);
        } else {
            let before = server.generation.is_attached(mode);
            let proof = match attach(server, mode) {
                Ok(()) => match trial::run(server, mode)? {
                    Ok(proof) => proof,
                    Err(end) => return Ok(end),
                },
                Err(_) if signals::come_within(PollTimeout::ZERO)? => return Ok(End::Signal),
                Err(error) => Proof::broken(format!("{error:#}")),
            };
            server.look_for_ends()?;
            if server.generation.is_dead()? {
                return Ok(End::Dead);
            }
            // What costs the uninvolved something is not there before it is wanted.
            let goes = !before && (mode == Mode::Flush || !proof.holds());
            if goes && unless_forbidden(server.detach_mode(mode))?.is_none() {
                orders::end_all(&server.generation)?;
                return Ok(End::Dead);
            }
            server.proofs.insert(mode, proof);
        }
    }
    Ok(End::Done)
}

/// Attaches what a mode needs, and waits for what another kdregd detached just before, and
/// for who was inside a function before its end was seen, unless a signal comes.
fn attach(server: &mut Server, mode: Mode) -> Result<()> {
    let limit = Instant::now() + PATIENCE;
    loop {
        match server.attach_mode(mode) {
            Err(error) if is_still_attached(&error) && Instant::now() < limit => {
                if signals::come_within(NAP.into())? {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

/// Says what this kernel can do. Exit status 0: at least one mode.
pub fn check(options: &Options) -> Result<i32> {
    signals::hold()?;
    kernel::quiet();
    let features = match Features::find() {
        Ok(features) => features,
        Err(error) => return Ok(nothing(options.json, &format!("{error:#}"))),
    };
    // Beside the one that serves, and gone afterwards.
    if let Some(why) = ftrace::against() {
        return Ok(nothing(options.json, why));
    }
    let root = &options.pins;
    let pins = root.join(format!("{}{}", others::CHECK, std::process::id()));
    let limits = crate::server::limits::Limits {
        clients: 16,
        ..options.limits
    };
    let options = Options {
        pins: pins.clone(),
        limits,
        modes: options.modes.clone(),
        socket: options.socket.clone(),
        ..*options
    };
    let lock = Lock::take(root)?;
    let opened = open(&options, &features, &lock);
    drop(lock);
    let tried = opened.and_then(|generation| {
        let mut server = begin(&options, features, generation, root);
        let end = try_modes(&options, &mut server)?;
        Ok((server, end))
    });
    let result = tried.map(|(server, end)| {
        match end {
            End::Done => {}
            End::Signal => return 1,
            End::Dead => {
                let why = ftrace::against().unwrap_or("programs were detached meanwhile");
                return nothing(options.json, why);
            }
        }
        if options.json {
            print!("{}", report::json(&server));
        } else {
            print!("{}", report::text(&server));
        }
        i32::from(server.offered() == 0)
    });
    let lock = Lock::take(root)?;
    others::remove_all(&pins, &lock)?;
    // Unless somebody else has something there.
    let _ = std::fs::remove_dir(root);
    result
}

/// Says why there is no mode at all, as exit status 1 does.
fn nothing(json: bool, why: &str) -> i32 {
    if json {
        println!("{:#}", serde_json::json!({ "modes": {}, "why_not": why }));
    } else {
        println!("no mode: {why}");
    }
    1
}

/// Ends all logs of all generations, and takes all out of the kernel. A kdregd
/// that runs ends, too.
pub fn uninstall(options: &Options) -> Result<i32> {
    kernel::quiet();
    if !options.pins.exists() {
        return Ok(0);
    }
    let alone = Lock::take(&options.pins)?;
    let pinned = others::objects(&options.pins)?;
    if let Ok(features) = Features::find() {
        for name in [generation::build_name(), generation::idle_name()] {
            let directory = options.pins.join(name);
            if let Ok(generation) = Generation::reopen(&directory, &features) {
                orders::uninstall(&generation)?;
                kernel::clients::wake_all(&generation)?;
            }
        }
    }
    // Others end theirs when their links go.
    others::remove_all(&options.pins, &alone)?;
    drop(alone);
    remains::wait(&pinned)?;
    Ok(0)
}
