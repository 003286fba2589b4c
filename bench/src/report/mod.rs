// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows of a run as a table, as CSV and as a page.

pub mod check;
pub mod csv;
pub mod html;
pub mod ratios;
pub mod svg;
pub mod table;

use crate::row::Row;
use std::fs;

/// Everything a run has to say.
pub struct Report {
    pub rows: Vec<Row>,
    /// Subjects that do not work here, and why.
    pub absent: Vec<(String, String)>,
    /// Scenarios that failed, and why.
    pub failed: Vec<(String, String)>,
    pub machine: String,
    pub effort: &'static str,
    pub seconds: u64,
}

/// The rows that make one table and one plot.
pub struct Chart<'a> {
    pub scenario: &'a str,
    pub name: &'a str,
    pub axis: &'a str,
    pub unit: &'a str,
    /// The columns, in the order they came.
    pub ats: Vec<&'a str>,
    /// The rows, in the order they came.
    pub subjects: Vec<&'a str>,
    rows: Vec<&'a Row>,
}

impl<'a> Chart<'a> {
    pub fn cell(&self, subject: &str, at: &str) -> Option<&'a Row> {
        let here = |row: &&&Row| row.subject == subject && row.at == at;
        self.rows.iter().find(here).copied()
    }

    /// The columns as numbers, if they all are.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        self.ats.iter().map(|at| at.parse().ok()).collect()
    }

    /// What is said about single numbers, once each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = Vec::new();
        for row in self.rows.iter().filter(|row| !row.note.is_empty()) {
            let note = format!("{}, {}: {}", row.subject, row.at, row.note);
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes
    }

    /// The smallest and the largest number, if there is any.
    pub fn extent(&self) -> Option<(f64, f64)> {
        let medians = || self.rows.iter().filter_map(|row| row.median);
        let low = medians().min_by(f64::total_cmp)?;
        Some((low, medians().max_by(f64::total_cmp)?))
    }
}

fn once<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

impl Report {
    /// The charts of a scenario.
    pub fn charts(&self, scenario: &str) -> Vec<Chart<'_>> {
        let rows: Vec<&Row> = self
            .rows
            .iter()
            .filter(|r| r.scenario == scenario)
            .collect();
        once(rows.iter().map(|row| row.chart.as_str()))
            .into_iter()
            .map(|name| {
                let rows: Vec<&Row> = rows.iter().filter(|r| r.chart == name).copied().collect();
                let mut ats = once(rows.iter().map(|row| row.at.as_str()));
                if ats.iter().all(|at| at.parse::<f64>().is_ok()) {
                    ats.sort_by(|a, b| number(a).total_cmp(&number(b)));
                }
                Chart {
                    scenario: &rows[0].scenario,
                    name,
                    axis: &rows[0].axis,
                    unit: &rows[0].unit,
                    ats,
                    subjects: once(rows.iter().map(|row| row.subject.as_str())),
                    rows,
                }
            })
            .collect()
    }

    /// Every subject that has a row, in the order they came.
    pub fn subjects(&self) -> Vec<&str> {
        once(self.rows.iter().map(|row| row.subject.as_str()))
    }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(0.0)
}

/// A number as people read it: three digits that count, thousands apart.
pub fn readable(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.5 => 0,
        v if v >= 9.95 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, whole) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// A column's name: numbers with their thousands apart.
pub fn heading(at: &str) -> String {
    match at.parse::<u64>() {
        Ok(number) => readable(number as f64).replace(".00", "").replace(".0", ""),
        Err(_) => at.to_string(),
    }
}

/// How far the quartiles are from each other, as a share of the median.
pub fn spread(row: &Row) -> Option<f64> {
    let (median, low, high) = (row.median?, row.low?, row.high?);
    (row.rounds > 1 && median != 0.0).then(|| (high - low) / 2.0 / median.abs() * 100.0)
}

/// What the numbers were measured on, and beside what.
pub fn machine(libraries: &[String]) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown processor", |(_, name)| name.trim());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split_whitespace().next().unwrap_or("?");
    let ours = format!("libkdreg {}", kdreg::VERSION);
    let libraries: Vec<&str> = std::iter::once(&ours)
        .chain(libraries)
        .map(String::as_str)
        .collect();
    format!(
        "{model}, {processors} processors, Linux {}, {}; load {load} at the end",
        kernel.trim(),
        libraries.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(readable(1.234), "1.23");
        assert_eq!(readable(99.7), "100");
        assert_eq!(readable(1234567.0), "1,234,567");
        assert_eq!(readable(-1234.0), "-1,234");
        assert_eq!(heading("1"), "1");
        assert_eq!(heading("1000000"), "1,000,000");
        assert_eq!(heading("p99.9"), "p99.9");
    }
}
