// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use clap::Parser;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effort {
    /// Every scenario at tiny sizes: does it run?
    Smoke,
    /// Small sizes, few rounds.
    Quick,
    /// Everything the tables need.
    Full,
}

impl Effort {
    pub fn name(self) -> &'static str {
        match self {
            Effort::Smoke => "smoke",
            Effort::Quick => "quick",
            Effort::Full => "full",
        }
    }

    /// One of three values.
    pub fn pick<T>(self, smoke: T, quick: T, full: T) -> T {
        match self {
            Effort::Smoke => smoke,
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Options {
    pub effort: Effort,
    /// Scenarios by name; none: all.
    pub scenarios: Vec<String>,
    pub out: PathBuf,
    pub plugins: PathBuf,
    /// Only subjects whose name contains one of these; none: all.
    pub subjects: Vec<String>,
    /// After this long no further scenario is begun.
    pub budget: Duration,
    /// No more regions than this anywhere.
    pub largest: usize,
    /// Register and evict cycles of the scenario `churn`.
    pub cycles: u64,
    /// What this machine calls a nanosecond: instructions, under an emulator that counts so.
    pub clock: String,
    /// Internal: a part that runs in a process of its own, with its arguments.
    pub part: Option<Vec<String>>,
    pub list: bool,
    /// A page that is to be checked, instead of a run.
    pub check_page: Option<PathBuf>,
}

/// Measures libkdreg beside a textbook cache, its floors, and the caches people use.
#[derive(Parser)]
#[command(name = "kdreg-bench", version)]
struct Arguments {
    /// Every scenario at tiny sizes: does it run?
    #[arg(long, group = "effort")]
    smoke: bool,
    /// Small sizes, few rounds
    #[arg(long, group = "effort")]
    quick: bool,
    /// Everything the tables need (the default)
    #[arg(long, group = "effort")]
    full: bool,
    /// Only subjects whose name contains TEXT (repeatable)
    #[arg(long = "subject", value_name = "TEXT")]
    subjects: Vec<String>,
    /// Begin no scenario after N seconds
    #[arg(long, value_name = "N", default_value_t = 3600)]
    seconds: u64,
    /// No more regions than N anywhere
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    largest: usize,
    /// Register and evict cycles of `churn`
    #[arg(long, value_name = "N")]
    cycles: Option<u64>,
    /// Where bench.csv and bench.html go
    #[arg(long, value_name = "DIR", default_value = "target/bench")]
    out: PathBuf,
    /// Where the plug-ins are (default: the output directory)
    #[arg(long, value_name = "DIR")]
    plugins: Option<PathBuf>,
    /// The unit of time; `instructions` in a guest that counts them
    #[arg(long, value_name = "NAME", default_value = "ns")]
    clock: String,
    /// Name the scenarios
    #[arg(long)]
    list: bool,
    /// Only say whether FILE is a page that this program wrote in full
    #[arg(long, value_name = "FILE")]
    check_page: Option<PathBuf>,
    /// A part that runs in a process of its own, with its arguments
    #[arg(long, hide = true, num_args = 1.., allow_hyphen_values = true)]
    part: Option<Vec<String>>,
    /// Scenarios; none: all
    scenarios: Vec<String>,
}

impl Options {
    /// From the command line; what is wrong with it ends the process with status 2.
    pub fn parse() -> Options {
        Options::from(Arguments::parse())
    }

    fn from(given: Arguments) -> Options {
        let effort = match given {
            Arguments { smoke: true, .. } => Effort::Smoke,
            Arguments { quick: true, .. } => Effort::Quick,
            _ => Effort::Full,
        };
        Options {
            effort,
            scenarios: given.scenarios,
            plugins: given.plugins.unwrap_or_else(|| given.out.clone()),
            out: given.out,
            subjects: given.subjects,
            budget: Duration::from_secs(given.seconds),
            largest: given.largest.max(10),
            cycles: given
                .cycles
                .unwrap_or_else(|| effort.pick(2_000, 200_000, 2_000_000)),
            clock: given.clock,
            part: given.part,
            list: given.list,
            check_page: given.check_page,
        }
    }

    /// Whether a subject is wanted.
    pub fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty()
            || self
                .subjects
                .iter()
                .any(|text| subject.contains(text.as_str()))
    }

    /// This program, to be started for a part with these options: this very one, even
    /// if its file was replaced since.
    pub fn command_for(&self, part: &[&str]) -> Command {
        let mut command = Command::new("/proc/self/exe");
        command.args(self.for_part()).arg("--part").args(part);
        command
    }

    /// What hands these options on to a part.
    pub fn for_part(&self) -> Vec<String> {
        let mut arguments = vec![
            format!("--{}", self.effort.name()),
            "--plugins".into(),
            self.plugins.display().to_string(),
            "--clock".into(),
            self.clock.clone(),
            "--largest".into(),
            self.largest.to_string(),
            "--cycles".into(),
            self.cycles.to_string(),
        ];
        for subject in &self.subjects {
            arguments.extend(["--subject".into(), subject.clone()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(arguments: &[&str]) -> Options {
        let all = std::iter::once("kdreg-bench").chain(arguments.iter().copied());
        Options::from(Arguments::try_parse_from(all).unwrap())
    }

    #[test]
    fn a_part_gets_the_options_and_the_rest_as_it_is() {
        let mut handed = options(&["--quick", "--largest", "500", "--subject", "UCX"]).for_part();
        handed.extend(["--part", "memory", "--odd", "3"].map(String::from));
        let handed: Vec<_> = handed.iter().map(String::as_str).collect();
        let part = options(&handed);
        assert_eq!(part.effort, Effort::Quick);
        assert_eq!((part.largest, part.cycles), (500, 200_000));
        assert_eq!(part.subjects, ["UCX"]);
        assert_eq!(part.part.unwrap(), ["memory", "--odd", "3"]);
    }

    #[test]
    fn one_effort_only() {
        let two = ["kdreg-bench", "--quick", "--smoke"];
        assert!(Arguments::try_parse_from(two).is_err());
    }
}
