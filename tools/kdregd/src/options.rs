// SPDX-License-Identifier: MIT OR Apache-2.0
//! The command line.

use crate::kernel::programs::Mode;
use crate::server::limits::Limits;
use anyhow::{Result, bail};
use kdreg::monitor::bpf::abi;
use lexopt::prelude::*;
use std::ffi::OsString;
use std::path::PathBuf;

pub const USAGE: &str = "\
usage: kdregd [options]             serve, in the foreground
       kdregd --check [--json]      say what this kernel can do, and why not
       kdregd --status [--json]     ask the kdregd that runs how it is
       kdregd --uninstall           end all logs; leave nothing in the kernel

Loads the BPF programs that log changes to the memory of programs which use
libkdreg, and hands each of them its log. See kdregd(8).

  --mode auto|notifier|flush   what is offered to clients (default auto: all
                               that is proven)
  --socket PATH                where to listen, unless systemd hands a socket
                               over (default /run/kdreg/kdregd.sock)
  --pins DIR                   where programs and maps are kept, in a BPF file
                               system (default /sys/fs/bpf/kdreg)
  --clients N                  of all users, at most (default 16384; as it was
                               when the programs were loaded)
  --user-clients N             of one user but root, at most (default 4096)
  --user-memory MIB            of the logs of one user but root (default 1024)
  --log-entries N              in a log, unless the client says (default 2048)
  --version, --help
";

/// What is to be done.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
pub enum Action {
    Serve,
    Check,
    Status,
    Uninstall,
    /// Be the child that a self-test is made in; not for people.
    Trial(Mode),
    Help,
    Version,
}

#[derive(Debug)]
pub struct Options {
    pub action: Action,
    pub json: bool,
    pub modes: Vec<Mode>,
    pub socket: PathBuf,
    pub pins: PathBuf,
    pub limits: Limits,
}

impl Options {
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Options> {
        let mut options = Options {
            action: Action::Serve,
            json: false,
            modes: Mode::ALL.to_vec(),
            socket: abi::SOCKET.into(),
            pins: "/sys/fs/bpf/kdreg".into(),
            limits: Limits::default(),
        };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next()? {
            match argument {
                Long("check") => options.act(Action::Check)?,
                Long("status") => options.act(Action::Status)?,
                Long("uninstall") => options.act(Action::Uninstall)?,
                Long("trial") => {
                    let mode = mode(&parser.value()?.string()?)?;
                    options.act(Action::Trial(mode))?;
                }
                Short('h') | Long("help") => options.act(Action::Help)?,
                Short('V') | Long("version") => options.act(Action::Version)?,
                Long("json") => options.json = true,
                Long("mode") => {
                    let name = parser.value()?.string()?;
                    options.modes = match name.as_str() {
                        "auto" => Mode::ALL.to_vec(),
                        name => vec![mode(name)?],
                    };
                }
                Long("socket") => options.socket = parser.value()?.into(),
                Long("pins") => options.pins = parser.value()?.into(),
                Long("clients") => options.limits.clients = number(&mut parser, 1, 1 << 20)?,
                Long("user-clients") => {
                    options.limits.user_clients = number(&mut parser, 0, 1 << 20)?;
                }
                Long("user-memory") => {
                    options.limits.user_memory = u64::from(number(&mut parser, 0, 1 << 20)?) << 20;
                }
                Long("log-entries") => {
                    let most = options.limits.max_capacity;
                    let entries = number(&mut parser, 1, most)?;
                    options.limits.default_capacity = options.limits.capacity(entries);
                }
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(options)
    }

    fn act(&mut self, action: Action) -> Result<()> {
        if self.action != Action::Serve {
            bail!("one thing at a time");
        }
        self.action = action;
        Ok(())
    }
}

fn mode(name: &str) -> Result<Mode> {
    match Mode::ALL.into_iter().find(|mode| mode.name() == name) {
        Some(mode) => Ok(mode),
        None => bail!("there is no mode {name:?}: auto, notifier or flush"),
    }
}

fn number(parser: &mut lexopt::Parser, least: u32, most: u32) -> Result<u32> {
    let text = parser.value()?.string()?;
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => bail!("{text:?} is not a number from {least} to {most}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options> {
        Options::parse(arguments.iter().map(Into::into))
    }

    #[test]
    fn modes_and_numbers() {
        assert_eq!(parse(&[]).unwrap().modes, Mode::ALL);
        assert_eq!(parse(&["--mode", "flush"]).unwrap().modes, [Mode::Flush]);
        assert!(parse(&["--mode", "x"]).is_err());
        assert_eq!(parse(&["--user-clients=7"]).unwrap().limits.user_clients, 7);
        assert_eq!(
            parse(&["--log-entries", "100"])
                .unwrap()
                .limits
                .default_capacity,
            128
        );
        assert!(parse(&["--clients", "0"]).is_err());
        assert!(parse(&["--clients", "many"]).is_err());
        assert!(parse(&["--check", "--uninstall"]).is_err());
        assert!(parse(&["stray"]).is_err());
    }
}
