// SPDX-License-Identifier: MIT OR Apache-2.0
//! All rows, for programs.

use super::Report;
use crate::row::COLUMNS;

pub fn text(report: &Report) -> String {
    let mut text = COLUMNS.join(",") + "\n";
    for row in &report.rows {
        text.push_str(&row.to_csv());
        text.push('\n');
    }
    text
}
