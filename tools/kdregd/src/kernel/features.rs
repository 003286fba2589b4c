// SPDX-License-Identifier: MIT OR Apache-2.0
//! What this kernel is: never by its version, always by what is in it.

use super::ftrace;
use super::programs::{Mode, PROGRAMS, Part, Program, UNMAP_VMAS};
use crate::kernel::calls::Attachment;
use anyhow::{Context, Result, bail};
use libbpf_rs::btf::{Btf, ReferencesType as _, types};
use std::fs;

/// What was found.
#[derive(Debug)]
pub struct Features {
    /// The kernel can preempt itself, or can be switched to that at run time.
    pub preemptible: bool,
    /// Its spinning locks may sleep (PREEMPT_RT).
    pub realtime: bool,
    /// kernel.ftrace_enabled is there, or may be.
    pub ftrace_switch: bool,
    /// It waits for tasks that it has taken off in the middle of its own code.
    pub waits_for_tasks: bool,
    /// Programs whose function or tracepoint this kernel does not have.
    pub missing: Vec<&'static Program>,
    /// `uname -r`.
    pub release: String,
}

impl Features {
    /// Looks at the running kernel.
    pub fn find() -> Result<Features> {
        for (kind, initial) in [("pid", 0xEFFF_FFFCu32), ("user", 0xEFFF_FFFD)] {
            // As include/linux/proc_ns.h numbers them for ever.
            let own = fs::read_link(format!("/proc/self/ns/{kind}")).context("/proc/self/ns")?;
            let initial = format!("{kind}:[{initial}]");
            if own.as_os_str() != initial.as_str() {
                bail!(
                    "kdregd has to run in the machine's own {kind} namespace, not in a container's"
                );
            }
        }
        // Not there where securityfs is not mounted: then the kernel refuses the programs.
        if fs::read_to_string("/sys/kernel/security/lockdown").is_ok_and(|text| hides_memory(&text))
        {
            bail!(
                "the kernel is locked down (lockdown=confidentiality): no program may read its memory"
            );
        }
        let btf = Btf::from_vmlinux()
            .context("this kernel does not describe its types (/sys/kernel/btf/vmlinux)")?;
        let function = |name: &str| btf.type_by_name::<types::Func<'_>>(name).is_some();
        let there = |program: &&Program| match program.target {
            Some((Attachment::Tracepoint, name)) => btf
                .type_by_name::<types::Typedef<'_>>(&format!("btf_trace_{name}"))
                .is_some(),
            Some((_, UNMAP_VMAS)) => knows_unmap_vmas(&parameters(&btf, UNMAP_VMAS)),
            Some((_, name)) => function(name),
            None => true,
        };
        let name = nix::sys::utsname::uname().context("uname")?;
        let version = name.version().to_string_lossy();
        Ok(Features {
            realtime: is_realtime(&version),
            // Both are there wherever preemption is built in, used or not.
            preemptible: function("preempt_schedule")
                || function("preempt_schedule_irq")
                || version.contains("PREEMPT"),
            ftrace_switch: ftrace::is_there(),
            waits_for_tasks: function("call_rcu_tasks") || function("synchronize_rcu_tasks"),
            missing: PROGRAMS.iter().filter(|program| !there(program)).collect(),
            release: name.release().to_string_lossy().into_owned(),
        })
    }

    /// Whether a part is of use here at all.
    pub fn needed(&self, part: Part) -> bool {
        match part {
            Part::Always | Part::Tool => true,
            Part::Guard => self.preemptible,
            Part::Sysctl => self.ftrace_switch,
            Part::Mode(Mode::Flush) | Part::Pass => cfg!(target_arch = "x86_64"),
            Part::Mode(Mode::Notifier) => true,
        }
    }

    /// Whether a program is to be loaded.
    pub fn wanted(&self, program: &Program) -> bool {
        self.needed(program.part) && !self.is_missing(program)
    }

    fn is_missing(&self, program: &Program) -> bool {
        self.missing.iter().any(|other| other.name == program.name)
    }

    /// Why a mode cannot be had; `None`: nothing is known against it.
    pub fn against(&self, mode: Mode) -> Option<String> {
        if !self.needed(Part::Mode(mode)) {
            return Some("is for x86-64".into());
        }
        // Where the lock of a ring is a spinlock_t, as it was, programs sleep for it there
        // after all. The scheduler does not call that preemption, so that the guard
        // would not see it; and no such kernel was tried.
        if self.realtime {
            return Some("this is a PREEMPT_RT kernel, on which the guard is not proven".into());
        }
        // Or an image could be gone though somebody is inside since before (`bpf/images.h`).
        if mode == Mode::Flush && !self.waits_for_tasks {
            return Some("this kernel does not wait for tasks (no CONFIG_TASKS_RCU)".into());
        }
        let lacking = self.missing.iter().find(|program| match program.part {
            Part::Mode(other) => other == mode,
            Part::Pass => mode == Mode::Flush,
            part => self.needed(part),
        })?;
        let (_, target) = lacking.target?;
        Some(format!(
            "this kernel has no {target} that a program can be attached to"
        ))
    }
}

/// The names of a function's parameters; none, if there is no such function.
fn parameters(btf: &Btf<'_>, function: &str) -> Vec<String> {
    let function = btf.type_by_name::<types::Func<'_>>(function);
    let of_type = |function: types::Func<'_>| btf.type_by_id(function.referenced_type_id());
    let Some(of_type): Option<types::FuncProto<'_>> = function.and_then(of_type) else {
        return Vec::new();
    };
    let name = |parameter: types::FuncProtoParam<'_>| parameter.name.unwrap_or_default().to_owned();
    let names = of_type.iter().map(name);
    names.map(|name| name.to_string_lossy().into()).collect()
}

/// Whether `unmap_vmas` has parameters as the program takes them.
fn knows_unmap_vmas(parameters: &[impl AsRef<str>]) -> bool {
    let named = |number: usize, name| parameters.get(number).is_some_and(|p| p.as_ref() == name);
    let described = parameters.len() == 2 && named(1, "unmap");
    named(0, "tlb") && (described || named(3, "start_addr") && named(4, "end_addr"))
}

/// Whether lockdown, which marks the mode it is in, keeps programs from the kernel's memory.
fn hides_memory(lockdown: &str) -> bool {
    lockdown.contains("[confidentiality]")
}

/// Whether `uname -v` says so: since there is such a kernel it does.
fn is_realtime(version: &str) -> bool {
    version
        .split_whitespace()
        .any(|word| ["PREEMPT_RT", "RT"].contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn realtime_is_told_by_its_version() {
        for version in [
            "#1 SMP PREEMPT_RT Debian 6.1.158-1 (2025-11-09)",
            "#1 SMP PREEMPT RT Debian 4.19.67-2 (2019-08-28)",
        ] {
            assert!(is_realtime(version), "{version}");
        }
        for version in [
            "#1 SMP PREEMPT_DYNAMIC Debian 6.1.158-1 (2025-11-09)",
            "#1 SMP Debian 5.10.1-1",
        ] {
            assert!(!is_realtime(version), "{version}");
        }
    }

    #[test]
    fn lockdown_is_told_by_the_mode_it_is_in() {
        assert!(hides_memory("none integrity [confidentiality]\n"));
        for mode in [
            "[none] integrity confidentiality\n",
            "none [integrity] confidentiality\n",
        ] {
            assert!(!hides_memory(mode), "{mode}");
        }
    }

    #[test]
    fn unmap_vmas_is_taken_as_it_is_known_only() {
        for known in [
            &["tlb", "mt", "vma", "start_addr", "end_addr"][..],
            &[
                "tlb",
                "mas",
                "vma",
                "start_addr",
                "end_addr",
                "tree_end",
                "mm_wr_locked",
            ],
            &["tlb", "unmap"],
        ] {
            assert!(knows_unmap_vmas(known), "{known:?}");
        }
        for other in [
            &[][..],
            &["tlb", "vma", "start_addr", "end_addr"],
            &["tlb", "unmap", "vma"],
            &["mm", "unmap"],
        ] {
            assert!(!knows_unmap_vmas(other), "{other:?}");
        }
    }

    #[test]
    fn no_mode_is_offered_where_the_guard_is_not_proven() {
        let mut features = Features {
            preemptible: true,
            realtime: false,
            ftrace_switch: true,
            waits_for_tasks: true,
            missing: Vec::new(),
            release: "6.1".into(),
        };
        assert_eq!(features.against(Mode::Notifier), None);
        assert_eq!(features.against(Mode::Flush), None);
        features.waits_for_tasks = false;
        assert_eq!(features.against(Mode::Notifier), None);
        assert!(features.against(Mode::Flush).is_some());
        features.realtime = true;
        for mode in Mode::ALL {
            assert!(features.against(mode).is_some());
        }
    }
}
