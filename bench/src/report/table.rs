// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tables, for a terminal and for docs/.

use super::ratios::Ratios;
use super::{Chart, Report, heading, readable, spread};
use crate::scenarios;
use crate::scenarios::growth::NAME as GROWTH;
use comfy_table::{CellAlignment, Table};
use std::fmt::Write;

/// Tables for a terminal: the median, and how far the quartiles are apart.
pub fn text(report: &Report) -> String {
    let mut text = format!("{}\n", report.machine);
    for scenario in &scenarios::ALL {
        let charts = report.charts(scenario.name);
        if !charts.is_empty() {
            let _ = write!(text, "\n== {}: {}\n", scenario.name, scenario.title);
        }
        for chart in charts {
            let _ = write!(text, "\n{}\n", caption(&chart));
            let medians = |subject: &str, at: &str| cell_of(&chart, subject, at);
            text.push_str(&aligned(&chart, medians));
            for ratios in Ratios::of(&chart) {
                let _ = write!(text, "\n{}, {}\n", chart.name, ratios.says);
                let cell = |subject: &str, at: &str| {
                    let ratio = ratios.at(&chart, subject, at);
                    ratio.map_or(String::new(), readable)
                };
                text.push_str(&aligned(&chart, cell));
            }
            for note in chart.notes() {
                let _ = writeln!(text, "  * {note}");
            }
        }
    }
    for (name, why) in &report.absent {
        let _ = write!(text, "\nnot measured: {name}: {why}");
    }
    for (name, why) in &report.failed {
        let _ = write!(text, "\nFAILED: {name}: {why}");
    }
    let _ = writeln!(text, "\n{} run, {} s", report.effort, report.seconds);
    text
}

fn caption(chart: &Chart) -> String {
    match chart.axis {
        "" => format!("{}, {}", chart.name, chart.unit),
        axis => format!("{}, {}, by {axis}", chart.name, chart.unit),
    }
}

/// A median and its spread.
fn cell_of(chart: &Chart, subject: &str, at: &str) -> String {
    let Some(row) = chart.cell(subject, at) else {
        return String::new();
    };
    let Some(median) = row.median else {
        return "-".into();
    };
    match spread(row) {
        Some(share) => format!("{} ±{share:.0}%", readable(median)),
        None => readable(median),
    }
}

fn aligned(chart: &Chart, cell: impl Fn(&str, &str) -> String) -> String {
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    let heads = chart.ats.iter().map(|at| heading(at));
    table.set_header(std::iter::once(String::new()).chain(heads));
    for subject in &chart.subjects {
        let cells = chart.ats.iter().map(|at| cell(subject, at));
        table.add_row(std::iter::once((*subject).to_owned()).chain(cells));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    format!("{}\n", table.trim_fmt())
}

/// What docs/performance.md shows, the ratios and the growth, as tables of Markdown; then
/// all medians, folded.
pub fn markdown(report: &Report) -> String {
    let mut text = format!(
        "One {} run of {} s, on {}. Ratios, each within one table of that run:\n",
        report.effort, report.seconds, report.machine
    );
    for scenario in &scenarios::ALL {
        for chart in report.charts(scenario.name) {
            for ratios in Ratios::of(&chart) {
                let title = format!("{}, {}, {}", scenario.name, chart.name, ratios.says);
                let cell = |subject: &str, at: &str| ratios.at(&chart, subject, at);
                table_of_markdown(&mut text, &title, &chart, cell);
            }
        }
    }
    let growth = report.charts(GROWTH);
    if !growth.is_empty() {
        text.push_str("\nGrowth: processor time of a get and a put, all threads' together.\n");
    }
    for chart in growth {
        medians(&mut text, &chart);
    }
    text.push_str("\n<details><summary>Everything that was measured in that run</summary>\n");
    for scenario in &scenarios::ALL {
        for chart in report.charts(scenario.name) {
            medians(&mut text, &chart);
        }
    }
    text + "\n</details>\n"
}

fn medians(text: &mut String, chart: &Chart) {
    let title = format!("{}: {}", chart.scenario, caption(chart));
    let cell = |subject: &str, at: &str| chart.cell(subject, at)?.median;
    table_of_markdown(text, &title, chart, cell);
}

fn table_of_markdown(
    text: &mut String,
    title: &str,
    chart: &Chart,
    cell: impl Fn(&str, &str) -> Option<f64>,
) {
    let _ = write!(text, "\n{title}:\n\n| |");
    for at in &chart.ats {
        let _ = write!(text, " {} |", heading(at));
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(chart.ats.len()));
    for subject in &chart.subjects {
        let cells: Vec<Option<f64>> = chart.ats.iter().map(|at| cell(subject, at)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "| {subject} |");
        for cell in cells {
            let _ = write!(text, " {} |", cell.map_or(String::new(), readable));
        }
        text.push('\n');
    }
}
