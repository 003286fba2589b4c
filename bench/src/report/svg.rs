// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plots as inline SVG. Colours are the page's: `--series-N` per subject, and
//! the text's own for axes, so that they fit in light and in dark.

use super::{Chart, heading, readable};
use std::fmt::Write;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 14.0;

pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// From values to places along an axis.
struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
    from: f64,
    to: f64,
}

impl Scale {
    /// Logarithmic where the values differ much, else from zero.
    fn new((low, high): (f64, f64), from: f64, to: f64) -> Scale {
        // What is no number has no place; ticks up to it would be without end.
        let (low, high) = if low.is_finite() && high.is_finite() {
            (low, high)
        } else {
            (0.0, 1.0)
        };
        let logarithmic = low > 0.0 && high / low > 12.0;
        let (low, high) = if logarithmic {
            (low / 1.3, high * 1.3)
        } else {
            (low.min(0.0), if high > 0.0 { high * 1.08 } else { 1.0 })
        };
        Scale {
            low,
            high,
            logarithmic,
            from,
            to,
        }
    }

    fn at(&self, value: f64) -> f64 {
        let share = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round numbers along the axis.
    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        if self.logarithmic {
            let decades = (self.high / self.low).log10();
            let steps: &[f64] = if decades > 3.0 {
                &[1.0]
            } else {
                &[1.0, 2.0, 5.0]
            };
            for exponent in self.low.log10().floor() as i32..=self.high.log10().ceil() as i32 {
                ticks.extend(steps.iter().map(|step| step * 10f64.powi(exponent)));
            }
        } else {
            let rough = (self.high - self.low) / 5.0;
            let power = 10f64.powf(rough.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0].map(|s| s * power);
            let step = step.into_iter().find(|&s| s >= rough).unwrap_or(rough);
            let first = (self.low / step).ceil() as i64;
            ticks.extend((0..12).map(|n| (first + n) as f64 * step));
        }
        ticks.retain(|tick| (self.low..=self.high).contains(tick));
        ticks
    }
}

/// A plot of the chart: lines where the columns are numbers, else bars.
/// `number` gives a subject's colour. Empty when there is nothing to plot.
pub fn plot(chart: &Chart, number: impl Fn(&str) -> usize) -> String {
    let Some(extent) = chart.extent() else {
        return String::new();
    };
    match chart.numbers() {
        Some(numbers) if numbers.len() > 1 => lines(chart, &numbers, extent, number),
        _ => bars(chart, extent, number),
    }
}

fn tick_label(value: f64) -> String {
    let text = readable(value);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

fn lines(
    chart: &Chart,
    numbers: &[f64],
    extent: (f64, f64),
    number: impl Fn(&str) -> usize,
) -> String {
    let height = 360.0;
    let bottom = height - 46.0;
    let ends = (numbers[0], numbers[numbers.len() - 1]);
    let mut x = Scale::new(ends, LEFT + 12.0, WIDTH - RIGHT - 12.0);
    if x.logarithmic {
        (x.low, x.high) = ends;
    }
    let y = Scale::new(extent, bottom, TOP);
    let mut svg = open(height, chart);
    for tick in y.ticks() {
        let at = y.at(tick);
        let end = WIDTH - RIGHT;
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{end}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 4.0,
            tick_label(tick)
        );
    }
    for (at, value) in chart.ats.iter().zip(numbers) {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            x.at(*value),
            bottom + 18.0,
            heading(at)
        );
    }
    axis_names(&mut svg, chart, height, bottom, &y);
    for subject in &chart.subjects {
        let series = number(subject);
        let points: Vec<(f64, f64, String)> = chart
            .ats
            .iter()
            .zip(numbers)
            .filter_map(|(at, value)| {
                let row = chart.cell(subject, at)?;
                let median = row.median?;
                Some((x.at(*value), y.at(median), told(chart, subject, at)))
            })
            .collect();
        let path: Vec<String> = points
            .iter()
            .map(|(x, y, _)| format!("{x:.1},{y:.1}"))
            .collect();
        let _ = write!(
            svg,
            "<polyline class=\"{}\" style=\"stroke:var(--series-{series})\" points=\"{}\"/>",
            if subject.starts_with("floor") {
                "line floor"
            } else {
                "line"
            },
            path.join(" ")
        );
        for (x, y, title) in points {
            let _ = write!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" style=\"fill:var(--series-{series})\">\
                 <title>{title}</title></circle>"
            );
        }
    }
    svg + "</svg>"
}

fn bars(chart: &Chart, extent: (f64, f64), number: impl Fn(&str) -> usize) -> String {
    let left = 250.0;
    let row_height = 18.0;
    let shown = |at: &&str| {
        let row = |s: &&&str| chart.cell(s, at).is_some_and(|row| row.median.is_some());
        chart
            .subjects
            .iter()
            .filter(row)
            .copied()
            .collect::<Vec<&str>>()
    };
    let rows: usize = chart.ats.iter().map(|at| shown(at).len() + 1).sum();
    let bottom = TOP + rows as f64 * row_height;
    let height = bottom + 46.0;
    let x = Scale::new(extent, left, WIDTH - 80.0);
    let mut svg = open(height, chart);
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            tick_label(tick)
        );
    }
    let mut top = TOP;
    for at in &chart.ats {
        let _ = write!(
            svg,
            "<text class=\"group\" x=\"4\" y=\"{:.1}\">{}</text>",
            top + 13.0,
            escaped(&heading(at))
        );
        top += row_height;
        for subject in shown(at) {
            let median = chart
                .cell(subject, at)
                .and_then(|row| row.median)
                .unwrap_or(0.0);
            let end = x.at(median);
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
                 <rect x=\"{left}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" \
                 style=\"fill:var(--series-{})\"><title>{}</title></rect>\
                 <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                left - 6.0,
                top + 13.0,
                escaped(subject),
                top + 3.0,
                (end - left).max(1.0),
                row_height - 6.0,
                number(subject),
                told(chart, subject, at),
                end.max(left) + 6.0,
                top + 13.0,
                readable(median)
            );
            top += row_height;
        }
    }
    let scale = if x.logarithmic { ", logarithmic" } else { "" };
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"name\">{}{scale}</text></svg>",
        (left + WIDTH - 80.0) / 2.0,
        height - 8.0,
        escaped(chart.unit)
    );
    svg
}

fn open(height: f64, chart: &Chart) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{}: {}\">",
        escaped(chart.scenario),
        escaped(chart.name)
    )
}

fn axis_names(svg: &mut String, chart: &Chart, height: f64, bottom: f64, y: &Scale) {
    let scale = if y.logarithmic { ", logarithmic" } else { "" };
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{bottom:.1}\" y2=\"{bottom:.1}\"/>\
         <text class=\"name\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"name\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}{scale}</text>",
        WIDTH - RIGHT,
        (LEFT + WIDTH - RIGHT) / 2.0,
        height - 8.0,
        escaped(chart.axis),
        (TOP + bottom) / 2.0,
        escaped(chart.unit),
    );
}

/// What a point says when it is pointed at.
fn told(chart: &Chart, subject: &str, at: &str) -> String {
    let Some(row) = chart.cell(subject, at) else {
        return String::new();
    };
    let value = |v: Option<f64>| v.map_or("-".into(), readable);
    escaped(&format!(
        "{subject}, {}: {} {} (quartiles {} to {}, {} rounds)",
        heading(at),
        value(row.median),
        chart.unit,
        value(row.low),
        value(row.high),
        row.rounds
    ))
}
