// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was measured: one row per subject and place, and its line of CSV.

/// One number with its spread.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub scenario: String,
    /// One table and one plot: the rows of a scenario that belong together.
    pub chart: String,
    pub subject: String,
    /// The place on the horizontal axis: a number, or a word.
    pub at: String,
    /// What `at` counts.
    pub axis: String,
    pub unit: String,
    /// `None` where there is no number; `note` says why.
    pub median: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// How many rounds the median is of.
    pub rounds: usize,
    pub note: String,
}

pub const COLUMNS: [&str; 11] = [
    "scenario", "chart", "subject", "at", "axis", "unit", "median", "low", "high", "rounds", "note",
];

impl Row {
    /// The line of CSV, without its end.
    pub fn to_csv(&self) -> String {
        let number = |value: Option<f64>| value.map_or(String::new(), |v| format!("{v:.3}"));
        [
            self.scenario.clone(),
            self.chart.clone(),
            self.subject.clone(),
            self.at.clone(),
            self.axis.clone(),
            self.unit.clone(),
            number(self.median),
            number(self.low),
            number(self.high),
            self.rounds.to_string(),
            self.note.clone(),
        ]
        .map(|field| quoted(&field))
        .join(",")
    }

    /// The row that a line of CSV says, if it is one.
    pub fn from_csv(line: &str) -> Option<Row> {
        let fields = split(line)?;
        let [
            scenario,
            chart,
            subject,
            at,
            axis,
            unit,
            median,
            low,
            high,
            rounds,
            note,
        ] = <[String; 11]>::try_from(fields).ok()?;
        let number = |text: &str| {
            if text.is_empty() {
                Some(None)
            } else {
                text.parse().ok().map(Some)
            }
        };
        Some(Row {
            median: number(&median)?,
            low: number(&low)?,
            high: number(&high)?,
            rounds: rounds.parse().ok()?,
            scenario,
            chart,
            subject,
            at,
            axis,
            unit,
            note,
        })
    }
}

fn quoted(field: &str) -> String {
    if field.contains(['"', ',', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\"").replace('\n', " "))
    } else {
        field.to_string()
    }
}

fn split(line: &str) -> Option<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut inside = false;
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if inside && characters.peek() == Some(&'"') => {
                characters.next();
                fields.last_mut()?.push('"');
            }
            '"' => inside = !inside,
            ',' if !inside => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    (!inside).then_some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_goes_there_and_back() {
        let row = Row {
            scenario: "hit".into(),
            chart: "packed".into(),
            subject: "a, \"b\"".into(),
            at: "10".into(),
            axis: "regions".into(),
            unit: "ns".into(),
            median: Some(1.5),
            low: None,
            high: Some(2.0),
            rounds: 3,
            note: "x, y".into(),
        };
        assert_eq!(Row::from_csv(&row.to_csv()), Some(row));
        assert_eq!(Row::from_csv("a,\"b"), None);
        assert_eq!(Row::from_csv(&COLUMNS.join(",")), None);
    }
}
