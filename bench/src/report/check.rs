// SPDX-License-Identifier: MIT OR Apache-2.0
//! Is a page whole? Every tag ended, every number finite, nothing needed from
//! elsewhere.

/// Tags that have no end.
const VOID: [&str; 1] = ["meta"];
/// Plots that a run of all scenarios has at the least.
const PLOTS: usize = 10;

/// What is wrong with it.
pub fn page(text: &str) -> Vec<String> {
    let mut faults = well_formed(text);
    let plots = text.matches("<svg").count();
    if plots < PLOTS {
        faults.push(format!("only {plots} plots"));
    }
    for marker in ["<script", "<link", "<img", "url(", "@import", " src="] {
        if text.contains(marker) {
            faults.push(format!("'{marker}': something from elsewhere"));
        }
    }
    for (start, _) in text.match_indices("=\"") {
        let value = &text[start + 2..];
        let value = &value[..value.find('"').unwrap_or(value.len())];
        let words = || value.split([',', ' ']);
        if words().any(|word| ["NaN", "inf", "-inf"].contains(&word)) {
            faults.push(format!("a place that is no number: {value}"));
        }
    }
    faults
}

fn well_formed(text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        let Some(end) = rest.find('>') else {
            faults.push("a tag has no end".into());
            break;
        };
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        let name = tag.split(' ').next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => {}
                other => faults.push(format!("</{name}> after <{}>", other.unwrap_or("nothing"))),
            }
        } else if !tag.ends_with('/') && !name.starts_with('!') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    faults.extend(open.iter().map(|name| format!("<{name}> is not ended")));
    faults
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Report, html};
    use crate::row::Row;

    #[test]
    fn faults_are_found() {
        assert!(well_formed("<p>a <b>c</b></p>").is_empty());
        assert!(!well_formed("<p>a <b>c</p>").is_empty());
        assert!(!well_formed("<p>a").is_empty());
        let whole = "<svg></svg>".repeat(PLOTS);
        assert!(page(&whole).is_empty());
        assert!(!page(&format!("{whole}<p x=\"1,NaN\"></p>")).is_empty());
        assert!(!page(&format!("{whole}<img src=\"a\"/>")).is_empty());
    }

    /// A page of rows of any kind is well-formed, names with markup included.
    #[test]
    fn a_page_is_well_formed() {
        let mut rows = Vec::new();
        for at in ["1", "10", "a<b>"] {
            for (subject, median) in [
                ("x & <y>", Some(1e-3)),
                ("z", None),
                ("floor: w", Some(1e9)),
            ] {
                rows.push(Row {
                    scenario: "hit".into(),
                    chart: format!("chart of {}", at.len()),
                    subject: subject.into(),
                    at: at.into(),
                    axis: "n".into(),
                    unit: "ns".into(),
                    median,
                    low: median,
                    high: median,
                    rounds: 3,
                    note: "because \"<\"".into(),
                });
            }
        }
        let report = Report {
            rows,
            absent: vec![("a".into(), "<no>".into())],
            failed: vec![("b".into(), "&".into())],
            machine: "m".into(),
            effort: "smoke",
            seconds: 1,
        };
        assert_eq!(well_formed(&html::text(&report)), Vec::<String>::new());
    }
}
