// SPDX-License-Identifier: MIT OR Apache-2.0
//! Instructions of a hit, where valgrind is installed.

use super::{Context, Place};
use crate::layout::{Layout, Regions, shuffled};
use crate::measure::Lane;
use crate::options::{Effort, Options};
use crate::subjects::{Kind, Setup, floors, manual};
use std::process::{Command, Stdio};

/// Regions: so few that none is evicted from any index.
const REGIONS: usize = 100;

pub fn run(context: &Context) -> Result<(), String> {
    let place = Place {
        chart: "instructions of a hit",
        axis: "",
        at: "get and put",
        unit: "instructions",
    };
    let here = Command::new("valgrind")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    if !here.is_ok_and(|status| status.success()) {
        context.no_number(place, "every subject", "valgrind is not installed");
        return Ok(());
    }
    let times = context.effort.pick(200, 20_000, 20_000);
    for subject in &context.field.subjects {
        // valgrind knows no userfaultfd and no device of this project's.
        let unknown = subject.name.starts_with("libkdreg: ") && subject.name != manual::NAME;
        let one_will_do = context.effort == Effort::Smoke && subject.kind != Kind::Own;
        let unknown = unknown || subject.name == floors::SYSTEM_CALL;
        if matches!(subject.kind, Kind::Check | Kind::Variant) || unknown || one_will_do {
            continue;
        }
        context.progress(&subject.name);
        let counted = count(context, &subject.name, times)
            .and_then(|few| Ok((few, count(context, &subject.name, 2 * times)?)));
        match counted {
            Ok((few, many)) => {
                let each = (many - few) / times as f64;
                context.row(place, &subject.name, &[each], "");
            }
            Err(why) => context.no_number(place, &subject.name, &why),
        }
    }
    Ok(())
}

fn count(context: &Context, subject: &str, times: usize) -> Result<f64, String> {
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        // UCX patches code, which ends badly here.
        .env("UCX_MEM_MMAP_HOOK_MODE", "none")
        .arg(program)
        .args(context.options.for_part())
        // Others would be opened, too, to see whether they work.
        .args(["--subject", subject])
        .args(["--part", "count", subject, &times.to_string()])
        .output()
        .map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err("it does not run under valgrind".into());
    }
    // "==123== Collected : 456"
    text.lines()
        .find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
        .ok_or("valgrind counted nothing".into())
}

/// So many hits, and nothing else that depends on their number.
pub fn part(options: &Options, subject: &str, times: usize) -> Result<(), String> {
    let context = Context::new(options, "instructions");
    let regions = Regions::new(Layout::Packed, REGIONS);
    let lane = Lane::open(
        &context.subject(subject)?,
        &regions,
        Setup::holding(REGIONS + 8),
    )?;
    lane.fill()?;
    let order = shuffled(&lane.keys, 1);
    for _ in 0..times / REGIONS {
        lane.cache.hit(&order)?;
    }
    Ok(())
}
