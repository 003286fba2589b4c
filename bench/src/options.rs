// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use std::path::PathBuf;
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

pub const USAGE: &str = "\
usage: kdreg-bench [option]... [scenario]...

  --quick, --full, --smoke  how much is measured (default: full)
  --subject TEXT            only subjects whose name contains TEXT (repeatable)
  --seconds N               begin no scenario after N seconds
  --largest N               no more regions than N anywhere
  --cycles N                register and evict cycles of `churn`
  --out DIR                 where bench.csv and bench.html go (default: target/bench)
  --plugins DIR             where the plug-ins are (default: the output directory)
  --clock NAME              the unit of time; `instructions` in a guest that counts them
  --list                    name the scenarios
  --check-page FILE         only say whether FILE is a page that this program wrote in full
";

impl Options {
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mut options = Options {
            effort: Effort::Full,
            scenarios: Vec::new(),
            out: PathBuf::from("target/bench"),
            plugins: PathBuf::new(),
            subjects: Vec::new(),
            budget: Duration::from_secs(3600),
            largest: usize::MAX,
            cycles: 0,
            clock: "ns".into(),
            part: None,
            list: false,
            check_page: None,
        };
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or(format!("{argument} wants a value\n\n{USAGE}"))
            };
            let number = |text: String| {
                text.parse::<f64>()
                    .ok()
                    .filter(|n| n.is_finite() && *n >= 0.0)
                    .ok_or(format!("'{text}' is no number"))
            };
            match argument.as_str() {
                "--smoke" => options.effort = Effort::Smoke,
                "--quick" => options.effort = Effort::Quick,
                "--full" => options.effort = Effort::Full,
                "--subject" => options.subjects.push(value()?),
                "--seconds" => options.budget = Duration::from_secs_f64(number(value()?)?.min(1e9)),
                "--largest" => options.largest = (number(value()?)? as usize).max(10),
                "--cycles" => options.cycles = number(value()?)? as u64,
                "--out" => options.out = value()?.into(),
                "--plugins" => options.plugins = value()?.into(),
                "--clock" => options.clock = value()?,
                "--list" => options.list = true,
                "--check-page" => options.check_page = Some(value()?.into()),
                "--part" => {
                    options.part = Some(arguments.collect());
                    break;
                }
                _ if argument.starts_with('-') => {
                    return Err(format!("no option {argument}\n\n{USAGE}"));
                }
                _ => options.scenarios.push(argument),
            }
        }
        if options.plugins.as_os_str().is_empty() {
            options.plugins = options.out.clone();
        }
        if options.cycles == 0 {
            options.cycles = options.effort.pick(2_000, 200_000, 2_000_000);
        }
        Ok(options)
    }

    /// Whether a subject is wanted.
    pub fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty()
            || self
                .subjects
                .iter()
                .any(|text| subject.contains(text.as_str()))
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
