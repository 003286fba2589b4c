// SPDX-License-Identifier: MIT OR Apache-2.0
//! The programs of `bpf/`: what each is for, and where it is attached.

use super::calls::Attachment;

/// How changes are seen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Mode {
    /// What MMU notifiers are told, for address spaces that have had one.
    Notifier,
    /// Where translations are flushed; x86-64.
    Flush,
}

impl Mode {
    /// Both, the better one first.
    pub const ALL: [Mode; 2] = [Mode::Notifier, Mode::Flush];

    /// Its name in options and messages.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Notifier => "notifier",
            Mode::Flush => "flush",
        }
    }

    /// Its number in logs and in the protocol.
    pub fn number(self) -> u32 {
        match self {
            Mode::Notifier => kdreg::monitor::bpf::abi::MODE_NOTIFIER,
            Mode::Flush => kdreg::monitor::bpf::abi::MODE_FLUSH,
        }
    }

    /// Its bit in sets of modes.
    pub fn bit(self) -> u32 {
        1 << self.number()
    }
}

/// What a program is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// What any mode needs.
    Always,
    /// What any mode needs where the kernel can preempt itself.
    Guard,
    /// What any mode needs where kernel.ftrace_enabled can be written to.
    Sysctl,
    /// What a mode needs.
    Mode(Mode),
    /// What has another image made of a function that mode flush has a program at the end of.
    Pass,
    /// Run by kdregd.
    Tool,
}

/// A program.
#[derive(Debug)]
pub struct Program {
    /// Its function in `bpf/`.
    pub name: &'static str,
    /// What it is part of.
    pub part: Part,
    /// How it is attached, and to which function or tracepoint; of tools `None`.
    pub target: Option<(Attachment, &'static str)>,
    /// Its number in `enum watched_program`, if the guard watches over it.
    pub watched: Option<usize>,
}

const fn hook(
    name: &'static str,
    part: Part,
    how: Attachment,
    target: &'static str,
    watched: usize,
) -> Program {
    Program {
        name,
        part,
        target: Some((how, target)),
        watched: Some(watched),
    }
}

const fn tool(name: &'static str) -> Program {
    Program {
        name,
        part: Part::Tool,
        target: None,
        watched: None,
    }
}

const fn passing(name: &'static str, target: &'static str) -> Program {
    Program {
        name,
        part: Part::Pass,
        target: Some((Entry, target)),
        watched: None,
    }
}

use Attachment::{Entry, Exit, Tracepoint};

/// The guard's own.
pub const SCHEDULER: &str = "scheduler";

/// All of them, in the order in which they are attached: who watches comes first.
pub const PROGRAMS: &[Program] = &[
    tool("tasks"),
    tool("programs"),
    tool("orders"),
    Program {
        name: SCHEDULER,
        part: Part::Guard,
        target: Some((Tracepoint, "sched_switch")),
        watched: None,
    },
    hook(
        "link_release",
        Part::Always,
        Entry,
        "bpf_tracing_link_release",
        3,
    ),
    hook(
        "tracepoint_release",
        Part::Guard,
        Entry,
        "bpf_raw_tp_link_release",
        4,
    ),
    hook("sysctl", Part::Sysctl, Entry, "proc_dointvec", 5),
    hook("exit_space", Part::Always, Entry, "exit_mmap", 2),
    hook(
        "range_start",
        Part::Mode(Mode::Notifier),
        Entry,
        "__mmu_notifier_invalidate_range_start",
        0,
    ),
    hook(
        "range_end",
        Part::Mode(Mode::Notifier),
        Entry,
        "__mmu_notifier_invalidate_range_end",
        1,
    ),
    // Before those at whose functions it looks.
    hook(
        IMAGE,
        Part::Mode(Mode::Flush),
        Entry,
        "perf_event_ksymbol",
        11,
    ),
    hook(
        "flush_range",
        Part::Mode(Mode::Flush),
        Entry,
        "flush_tlb_mm_range",
        6,
    ),
    hook(
        "gather_finish",
        Part::Mode(Mode::Flush),
        Entry,
        "tlb_finish_mmu",
        7,
    ),
    hook(
        "unmap_one",
        Part::Mode(Mode::Flush),
        Exit,
        "try_to_unmap_one",
        8,
    ),
    hook(
        "migrate_one",
        Part::Mode(Mode::Flush),
        Exit,
        "try_to_migrate_one",
        9,
    ),
    hook("unmap", Part::Mode(Mode::Flush), Entry, UNMAP_VMAS, 10),
    passing("pass_unmap_one", "try_to_unmap_one"),
    passing("pass_migrate_one", "try_to_migrate_one"),
];

/// What sees images made and gone.
pub const IMAGE: &str = "image";

/// The programs of mode flush that are at the ends of functions.
pub const AT_ENDS: [&str; 2] = ["unmap_one", "migrate_one"];

/// A function whose arguments differ from kernel to kernel.
pub const UNMAP_VMAS: &str = "unmap_vmas";

/// How many the guard watches over, as `WATCHED_PROGRAMS`.
pub const WATCHED: usize = 12;

/// The maps that are pinned.
pub const MAPS: [&str; 9] = [
    "logs",
    "wakes",
    "ends",
    "guard",
    "watched",
    "processors",
    "questions",
    "ended",
    "images",
];
