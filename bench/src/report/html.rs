// SPDX-License-Identifier: MIT OR Apache-2.0
//! One page with everything in it: no script, nothing fetched from anywhere.

use super::svg::{escaped, plot};
use super::{Chart, Report, heading, readable, spread};
use crate::scenarios;
use std::fmt::Write;

/// Colours of the subjects, for a light page and for a dark one.
const LIGHT: [&str; 14] = [
    "#0b62c4", "#c2410c", "#15803d", "#9333ea", "#b91c6b", "#8a6d00", "#0e7490", "#6b4423",
    "#4b5563", "#7c7f00", "#5b5bd6", "#737373", "#be123c", "#3f6212",
];
const DARK: [&str; 14] = [
    "#6cb2ff", "#ff9a5c", "#5fd38a", "#c99bff", "#ff85c0", "#e6c84f", "#56d4ee", "#d1a37c",
    "#b6bdc9", "#d0d34a", "#a5a5ff", "#a3a3a3", "#ff8fa3", "#b2d67a",
];

const STYLE: &str = "
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       background: var(--page); color: var(--text); }
h1 { font-size: 1.6rem; } h2 { margin-top: 3rem; font-size: 1.3rem; } h3 { font-size: 1.05rem; margin-bottom: .3rem; }
nav a { margin-right: 1em; } a { color: var(--link); }
svg { width: 100%; height: auto; background: var(--panel); border-radius: 6px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--text); }
svg text.name, svg text.group { font-weight: 600; }
.grid { stroke: var(--faint); stroke-width: 1; } .axis { stroke: var(--text); stroke-width: 1; }
.line { fill: none; stroke-width: 2; } .floor { stroke-dasharray: 5 4; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; padding: 0; list-style: none; font-size: .85rem; }
.legend i { display: inline-block; width: .9em; height: .9em; border-radius: 2px; margin-right: .4em; vertical-align: -1px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .7rem .15rem 0; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--faint); }
td:first-child, th:first-child { text-align: left; } small { color: var(--weak); }
summary { cursor: pointer; font-size: .9rem; }
";

fn colours(series: &[&str]) -> String {
    let mut text = String::new();
    for (number, colour) in series.iter().enumerate() {
        let _ = write!(text, "--series-{number}:{colour};");
    }
    text
}

pub fn text(report: &Report) -> String {
    let light =
        "--page:#fff;--panel:#f6f7f9;--text:#1c2026;--weak:#5c6470;--faint:#dde1e7;--link:#0b57b0;";
    let dark = "--page:#14171c;--panel:#1b2027;--text:#e6e9ee;--weak:#9aa4b2;--faint:#323a45;--link:#7ab8ff;";
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>libkdreg: benchmark</title>\n<style>\n:root {{ {light}{} }}\n\
         @media (prefers-color-scheme: dark) {{ :root {{ {dark}{} }} }}{STYLE}</style></head>\n<body>\n\
         <h1>libkdreg: benchmark</h1>\n<p>{}. A {} run of {} s. The subjects took turns, round by round, within each \
         scenario: compare numbers of one table, not of two runs. Medians; the share after each is half the distance of \
         the quartiles.</p>\n",
        colours(&LIGHT),
        colours(&DARK),
        escaped(&report.machine),
        report.effort,
        report.seconds
    );
    let measured: Vec<_> = scenarios::ALL
        .iter()
        .map(|scenario| (scenario, report.charts(scenario.name)))
        .filter(|(_, charts)| !charts.is_empty())
        .collect();
    page.push_str("<nav>");
    for (scenario, _) in &measured {
        let _ = write!(page, "<a href=\"#{0}\">{0}</a> ", scenario.name);
    }
    page.push_str("</nav>\n");
    for (scenario, charts) in &measured {
        let _ = write!(
            page,
            "<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n",
            scenario.name,
            escaped(scenario.title),
            escaped(scenario.means)
        );
        for chart in charts {
            one(&mut page, report, chart);
        }
    }
    for (title, list) in [
        ("Not measured here", &report.absent),
        ("Failed", &report.failed),
    ] {
        if list.is_empty() {
            continue;
        }
        let _ = write!(page, "<h2>{title}</h2>\n<ul>");
        for (name, why) in list {
            let _ = write!(page, "<li>{}: {}</li>", escaped(name), escaped(why));
        }
        page.push_str("</ul>\n");
    }
    page + "</body></html>\n"
}

fn one(page: &mut String, report: &Report, chart: &Chart) {
    let subjects = report.subjects();
    let number = |subject: &str| {
        let place = subjects.iter().position(|s| *s == subject);
        place.unwrap_or(0) % LIGHT.len()
    };
    let _ = write!(
        page,
        "<h3>{}, {}</h3>\n{}",
        escaped(chart.name),
        escaped(chart.unit),
        plot(chart, number)
    );
    page.push_str("\n<ul class=\"legend\">");
    for subject in &chart.subjects {
        let _ = write!(
            page,
            "<li><i style=\"background:var(--series-{})\"></i>{}</li>",
            number(subject),
            escaped(subject)
        );
    }
    let _ = write!(
        page,
        "</ul>\n<details><summary>Numbers</summary><div class=\"scroll\"><table><tr><th>{}</th>",
        escaped(chart.axis)
    );
    for at in &chart.ats {
        let _ = write!(page, "<th>{}</th>", escaped(&heading(at)));
    }
    page.push_str("</tr>\n");
    for subject in &chart.subjects {
        let _ = write!(page, "<tr><td>{}</td>", escaped(subject));
        for at in &chart.ats {
            let row = chart.cell(subject, at);
            let median = row.and_then(|row| row.median);
            let share = row.and_then(spread);
            let _ = write!(
                page,
                "<td>{}{}</td>",
                median.map_or("-".into(), readable),
                share.map_or(String::new(), |s| format!(" <small>±{s:.0}%</small>"))
            );
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div></details>\n");
    let notes = chart.notes();
    if !notes.is_empty() {
        let _ = writeln!(page, "<p><small>{}</small></p>", escaped(&notes.join("; ")));
    }
}
