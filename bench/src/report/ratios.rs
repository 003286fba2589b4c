// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a run claims: ratios of numbers that were measured side by side.

use super::Chart;
use crate::scenarios::{invalidate::THOUSAND, unmap};
use crate::subjects::{PEER, floors, textbook};

/// Each number of a chart over another one of the same chart.
pub struct Ratios<'a> {
    pub says: String,
    /// The subject that all are compared with, in each column; `None`: each
    /// subject is compared with itself in the first column.
    reference: Option<&'a str>,
}

impl<'a> Ratios<'a> {
    /// None for a chart whose ratios say nothing.
    pub fn of(chart: &Chart<'a>) -> Vec<Ratios<'a>> {
        // What one entry for all is judged by, besides.
        let counter = chart.subjects.iter().copied();
        let counter = counter
            .filter(|name| *name == floors::SHARED && chart.unit == "million/s")
            .map(|name| Ratios {
                says: format!("throughput over that of {name}"),
                reference: Some(name),
            });
        Ratios::chief(chart).into_iter().chain(counter).collect()
    }

    fn chief(chart: &Chart<'a>) -> Option<Ratios<'a>> {
        let first = |says: &str| {
            Some(Ratios {
                says: says.into(),
                reference: None,
            })
        };
        match (chart.scenario, chart.unit) {
            ("invalidate", _) if chart.axis == THOUSAND => {
                first("time over that of the first thousand")
            }
            ("hit" | "miss" | "find" | "invalidate", _) => {
                let there = |name: &str| chart.subjects.iter().copied().find(|s| *s == name);
                let has_numbers = |name: &&str| {
                    let row = |at: &&str| chart.cell(name, at)?.median;
                    chart.ats.iter().any(|at| row(at).is_some())
                };
                let reference = there(PEER)
                    .filter(has_numbers)
                    .or_else(|| there(textbook::NAME))?;
                Some(Ratios {
                    says: format!("time over that of {reference}"),
                    reference: Some(reference),
                })
            }
            ("munmap", _) => {
                let reference = [unmap::NOBODY, unmap::READER]
                    .into_iter()
                    .find(|name| chart.subjects.contains(name))?;
                Some(Ratios {
                    says: format!("time over that of {reference}"),
                    reference: Some(reference),
                })
            }
            ("threads", "million/s") => first("throughput over that of one thread"),
            ("threads", _) => first("over that of one thread"),
            _ => None,
        }
    }

    pub fn at(&self, chart: &Chart, subject: &str, at: &str) -> Option<f64> {
        let here = chart.cell(subject, at)?.median?;
        let of = match self.reference {
            Some(reference) => chart.cell(reference, at)?.median?,
            None => chart.cell(subject, chart.ats.first()?)?.median?,
        };
        (of > 0.0).then(|| here / of)
    }
}
