// SPDX-License-Identifier: MIT OR Apache-2.0
//! Horizontal bars with their numbers, as SVG, by plotters.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub struct Bar {
    label: &'static str,
    value: f64,
    text: String,
}

impl Bar {
    pub fn new(label: &'static str, value: f64, text: String) -> Bar {
        Bar { label, value, text }
    }
}

pub struct Panel {
    pub title: &'static str,
    pub bars: Vec<Bar>,
}

/// Pixels.
const WIDTH: i32 = 760;
const ROW: i32 = 24;
const TITLE: i32 = 40;
/// Where bars begin, and the length of the longest.
const LEFT: i32 = 250;
const LONGEST: i32 = 400;

const PAPER: RGBColor = RGBColor(0xf6, 0xf8, 0xfa);
const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
const OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const THEIRS: RGBColor = RGBColor(0xb0, 0x5a, 0x1c);

fn height(panel: &Panel) -> i32 {
    TITLE + ROW * panel.bars.len() as i32 + 12
}

/// The panels one below the other, on a light background of their own.
pub fn draw(panels: &[Panel]) -> Result<String, String> {
    let mut svg = String::new();
    let size = (WIDTH as u32, panels.iter().map(height).sum::<i32>() as u32);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let mut top = 0;
        let drawn = area.fill(&PAPER).and_then(|()| {
            for panel in panels {
                draw_panel(&area, panel, top)?;
                top += height(panel);
            }
            area.present()
        });
        drawn.map_err(|error| error.to_string())?;
    }
    Ok(format!(
        "<!-- SPDX-License-Identifier: MIT OR Apache-2.0 -->\n{svg}"
    ))
}

type Drawn<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Error<'a> = DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>;

fn draw_panel<'a>(area: &Drawn<'a>, panel: &Panel, top: i32) -> Result<(), Error<'a>> {
    let font = |size: i32| ("sans-serif", size).into_font().color(&INK);
    let right = font(16).pos(Pos::new(HPos::Right, VPos::Center));
    let left = font(16).pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(panel.title, (16, top + 14), font(19)))?;
    let most = panel.bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    for (row, bar) in panel.bars.iter().enumerate() {
        let middle = top + TITLE + ROW * row as i32 + ROW / 2;
        let length = (bar.value / most.max(f64::MIN_POSITIVE) * f64::from(LONGEST)).round() as i32;
        let colour = if bar.label.starts_with("libkdreg") {
            OURS
        } else {
            THEIRS
        };
        area.draw(&Text::new(bar.label, (LEFT - 10, middle), right.clone()))?;
        area.draw(&Rectangle::new(
            // A bar of nothing is still to be seen.
            [(LEFT, middle - 8), (LEFT + length.max(1), middle + 8)],
            colour.filled(),
        ))?;
        let end = (LEFT + length + 8, middle);
        area.draw(&Text::new(bar.text.clone(), end, left.clone()))?;
    }
    Ok(())
}
