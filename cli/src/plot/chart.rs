//! The drawing, by the crate plotters.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::register_font;
use striate::image::render::FONT;
use striate::image::{Image, resample};
use striate::train::EvaluationReport;

use super::curves::{Axis, Curves, Line, axis};
use crate::error::{Error, Result};

/// Columns and rows of the picture.
const SIZE: [u32; 2] = [960, 720];

/// plotters puts everything on whole pixels; drawn so many times larger and then shrunk, lines are
/// smooth.
const FINE: u32 = 3;

/// Fewer epochs are marked by dots.
const MARKED: usize = 60;

const FAMILY: &str = "sans-serif";
const INK: RGBColor = RGBColor(34, 38, 46);
const FAINT_INK: RGBColor = RGBColor(110, 116, 126);
const MESH: RGBColor = RGBColor(226, 229, 234);

/// Colours that those who see colours differently can tell apart too (Okabe and Ito, 2008).
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// What is drawn.
pub(super) struct Chart<'a> {
    pub(super) title: &'a str,
    pub(super) trainings: &'a [Curves],
}

/// How a curve is drawn.
#[derive(Clone, Copy, PartialEq)]
enum Stroke {
    /// What lies behind another curve.
    Faint,
    Thin,
    Thick,
    Dashed,
}

/// A curve of a panel.
struct Series {
    line: Line,
    color: RGBColor,
    stroke: Stroke,
    label: Option<String>,
    marked: bool,
}

/// One of the two coordinate systems.
struct Panel<'a> {
    x: &'a str,
    y: &'a str,
    percent: bool,
    series: Vec<Series>,
}

impl Chart<'_> {
    /// The chart as SVG.
    pub(super) fn svg(&self) -> Result<String> {
        let mut svg = String::new();
        let [cols, rows] = SIZE.map(|side| side * FINE);
        self.draw(SVGBackend::with_string(&mut svg, (cols, rows)))?;
        // Shown at its size, drawn on the finer grid.
        let fine = format!("width=\"{cols}\" height=\"{rows}\"");
        Ok(svg.replacen(&fine, &format!("width=\"{}\" height=\"{}\"", SIZE[0], SIZE[1]), 1))
    }

    /// The chart as a picture.
    pub(super) fn picture(&self) -> Result<Image> {
        let [cols, rows] = SIZE.map(|side| (side * FINE) as usize);
        let mut pixels = vec![0; rows * cols * 3];
        self.draw(BitMapBackend::with_buffer(&mut pixels, SIZE.map(|side| side * FINE).into()))?;
        let fine = Image::new(rows, cols, 3, pixels)?;
        Ok(resample::area(&fine, SIZE[1] as usize, SIZE[0] as usize)?.to_bytes())
    }

    fn draw<B: DrawingBackend>(&self, backend: B) -> Result<()>
    where
        B::ErrorType: 'static,
    {
        register_font(FAMILY, FontStyle::Normal, FONT)
            .map_err(|_| Error::message("cannot draw the curves: the font cannot be read"))?;
        let root = backend.into_drawing_area();
        let draw = || {
            root.fill(&WHITE)?;
            // The box of the text ends above its capital letters.
            let area = root.margin(px(12), px(4), 0, 0).titled(self.title, text(22, INK))?;
            let (_, rows) = area.dim_in_pixel();
            let (above, below) = area.split_vertically(rows / 2);
            let x = match axis(self.trainings) {
                Axis::Epochs => "epochs",
                Axis::Iterations => "mini-batches",
            };
            let right = self.last_place();
            self.losses(x).draw(&above, right)?;
            self.misses(x).draw(&below, right)?;
            root.present()
        };
        draw().map_err(|e| Error::because("cannot draw the curves", e))
    }

    /// The right end of the horizontal axis.
    fn last_place(&self) -> f64 {
        let axis = axis(self.trainings);
        let lines = self.trainings.iter().flat_map(|t| [t.losses(axis), t.training_misses(axis)]);
        let last = lines.filter_map(|line| line.last().map(|point| point.0)).fold(0.0, f64::max);
        if last > 0.0 { last } else { 1.0 }
    }

    /// The color of a curve: of its kind for one training, of the training for several.
    fn color(&self, training: usize, kind: usize) -> RGBColor {
        let index = if self.trainings.len() == 1 { kind } else { training };
        COLORS[index % COLORS.len()]
    }

    /// What the legend says: the kind for one training; for several the name of the training at its
    /// main curve, and nothing at the others.
    fn label(&self, curves: &Curves, kind: &str, main: bool) -> Option<String> {
        match (self.trainings.len(), main) {
            (1, _) => Some(kind.to_owned()),
            (_, true) => Some(curves.name.clone()),
            (_, false) => None,
        }
    }

    fn losses(&self, x: &'static str) -> Panel<'_> {
        let axis = axis(self.trainings);
        let mut series = Vec::new();
        for (index, curves) in self.trainings.iter().enumerate() {
            let mut add = |line: Line, kind, stroke, name: &str, main| {
                let (color, label) = (self.color(index, kind), self.label(curves, name, main));
                let marked = kind == 1 && line.len() <= MARKED;
                series.push(Series { line, color, stroke, label, marked });
            };
            add(curves.losses(axis), 0, Stroke::Faint, "mini-batches", false);
            add(curves.smoothed(axis), 0, Stroke::Thick, "mini-batches, smoothed", true);
            add(curves.test(axis, |test| test.loss), 1, Stroke::Dashed, "test", false);
        }
        let y = if self.trainings.len() == 1 { "loss" } else { "loss (dashed: test)" };
        Panel { x, y, percent: false, series }
    }

    fn misses(&self, x: &'static str) -> Panel<'_> {
        let axis = axis(self.trainings);
        let mut series = Vec::new();
        for (index, curves) in self.trainings.iter().enumerate() {
            let top1 = curves.test(axis, EvaluationReport::miss_rate);
            let untested = top1.is_empty();
            let mut add = |line: Line, kind, stroke, name: &str, main| {
                let (color, label) = (self.color(index, kind), self.label(curves, name, main));
                let marked = !curves.history.epochs.is_empty() && line.len() <= MARKED;
                series.push(Series { line, color, stroke, label, marked });
            };
            add(curves.training_misses(axis), 0, Stroke::Thin, "training", untested);
            add(top1, 1, Stroke::Thick, "test, top-1", !untested);
            add(
                curves.test(axis, EvaluationReport::miss_rate_top5),
                2,
                Stroke::Dashed,
                "test, top-5",
                false,
            );
        }
        let y = match self.trainings.len() {
            1 => "error rate",
            _ => "error rate (thin: training, dashed: top-5)",
        };
        Panel { x, y, percent: true, series }
    }
}

impl Panel<'_> {
    fn draw<B: DrawingBackend>(
        mut self,
        area: &DrawingArea<B, Shift>,
        right: f64,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        self.series.retain(|series| !series.line.is_empty());
        let top = self.top();
        let mut chart = ChartBuilder::on(area)
            .margin(px(10))
            .margin_right(px(24))
            .x_label_area_size(px(44))
            .y_label_area_size(px(76))
            .build_cartesian_2d(0.0..right, 0.0..top)?;
        let number = |x: &f64| short(*x);
        let level =
            |y: &f64| if self.percent { format!("{} %", short(y * 100.0)) } else { short(*y) };
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(self.y)
            .axis_desc_style(text(16, INK))
            .label_style(text(14, FAINT_INK))
            .x_labels(10)
            .y_labels(6)
            .x_label_formatter(&number)
            .y_label_formatter(&level)
            .max_light_lines(0)
            .bold_line_style(MESH.stroke_width(FINE))
            .axis_style(FAINT_INK.stroke_width(FINE))
            .draw()?;
        let mut labels = false;
        for series in self.series {
            let (color, stroke, marked) = (series.color, series.stroke, series.marked);
            let style = stroke.style(color);
            let line: Line = series.line.into_iter().map(|(x, y)| (x, y.clamp(0.0, top))).collect();
            if marked {
                let dot = |&(x, y): &(f64, f64)| Circle::new((x, y), px(3), color.filled());
                chart.draw_series(line.iter().map(dot))?;
            }
            let drawn = if stroke == Stroke::Dashed {
                chart.draw_series(DashedLineSeries::new(line, px(7), px(5), style))?
            } else {
                chart.draw_series(LineSeries::new(line, style))?
            };
            if let Some(label) = series.label {
                labels = true;
                drawn.label(label).legend(move |(x, y)| {
                    // A dash, for what is dashed.
                    let end = if stroke == Stroke::Dashed { px(9) } else { px(24) };
                    PathElement::new([(x, y), (x + end, y)], style)
                });
            }
        }
        if labels {
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperRight)
                .margin(px(10))
                .legend_area_size(px(30))
                .label_font(text(15, INK))
                .background_style(WHITE.mix(0.85))
                .border_style(MESH.stroke_width(FINE))
                .draw()?;
        }
        Ok(())
    }

    /// The upper end of the vertical axis: all that is seen clearly, and almost all of what is
    /// faint, so that one wild mini-batch does not flatten the rest.
    fn top(&self) -> f64 {
        let highest = |series: &Series| {
            let mut values: Vec<f64> = series.line.iter().map(|point| point.1).collect();
            values.sort_by(f64::total_cmp);
            let spare = if series.stroke == Stroke::Faint { values.len() / 100 } else { 0 };
            values.iter().rev().nth(spare).copied().unwrap_or(0.0)
        };
        let top = self.series.iter().map(highest).fold(0.0, f64::max);
        if top > 0.0 { top * 1.08 } else { 1.0 }
    }
}

impl Stroke {
    fn style(self, color: RGBColor) -> ShapeStyle {
        match self {
            Stroke::Faint => color.mix(0.25).stroke_width(FINE),
            Stroke::Thin | Stroke::Dashed => color.stroke_width(FINE * 3 / 2),
            Stroke::Thick => color.stroke_width(FINE * 2),
        }
    }
}

/// Pixels of the picture on the grid that is drawn on.
fn px(pixels: i32) -> i32 {
    pixels * FINE as i32
}

fn text(size: i32, color: RGBColor) -> TextStyle<'static> {
    (FAMILY, px(size)).into_font().color(&color)
}

/// A number without the digits that say nothing.
fn short(number: f64) -> String {
    let rounded = format!("{number:.4}");
    rounded.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [0.0, 0.5, 10.0, 0.0125, 1e-9].map(short);
        assert_eq!(texts, ["0", "0.5", "10", "0.0125", "0"]);
    }
}
