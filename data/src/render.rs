//! Painting: the ranks of a classification as bars over its picture, heat maps over pictures, and
//! sheets of tiles.

mod canvas;
mod heat;
mod palette;
mod text;
mod tiles;

use canvas::{Canvas, Color, Rect};
use text::{Text, Weight};

use crate::formation::stretch;
use crate::{Image, Result};

pub use heat::draw_heat;
pub use palette::heat_color;
pub use text::{FONT, without_glyph};
pub use tiles::{TileOptions, TileSection, draw_tiles};

/// How [`draw_ranks`] paints.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RankOptions {
    /// The most bars painted; further ranks are left out.
    pub max_bars: usize,
    /// Narrower pictures are enlarged to about this many columns first, so that text fits.
    pub min_cols: usize,
    /// The size of the text relative to what the picture suggests; 1 by default.
    pub text_scale: f32,
}

impl Default for RankOptions {
    fn default() -> Self {
        Self { max_bars: 5, min_cols: 480, text_scale: 1.0 }
    }
}

const BACKGROUND: Color = Color::opaque(17, 19, 24);
const PANEL: Color = Color { rgb: [14.0, 16.0, 21.0], alpha: 0.66 };
const TRACK: Color = Color { rgb: [255.0, 255.0, 255.0], alpha: 0.13 };
const TOP_BAR: Color = Color::opaque(255, 184, 77);
const TOP_TEXT: Color = Color::opaque(255, 255, 255);
const BAR: Color = Color::opaque(126, 176, 230);
const TEXT: Color = Color::opaque(214, 220, 228);

/// Pictures whose sides are no longer than this are enlarged to crisp squares instead of smoothly:
/// whoever looks at a digit of 28 x 28 wants to see its pixels.
const PIXEL_ART_SIDE: usize = 64;

/// An enlarged picture is no longer than this on any side.
const MAX_ENLARGED_SIDE: usize = 1600;

/// The part of a picture's height that the panel may cover; beyond, it goes below the picture.
const MAX_COVERED: f32 = 0.46;

/// The panel is at most this wide, in heights of the text: longer bars are harder to compare.
const MAX_PANEL_EMS: f32 = 46.0;

/// Paints ranks (label, confidence 0..=1), best first, over a picture of 1 or 3 channels: a
/// translucent panel at its bottom with a bar for each, the first one emphasised. Where the panel
/// would cover too much of the picture it is put below. Labels that are too long end in an ellipsis.
/// A confidence that is not a number gets no bar and a dash.
///
/// The result has three channels, and the picture's size unless the picture was enlarged or the
/// panel was put below. Without ranks it is the picture (enlarged if narrow).
///
/// # Errors
/// [`crate::Error::Channels`] when the picture has neither 1 nor 3 channels.
pub fn draw_ranks(image: &Image, ranks: &[(String, f32)], options: &RankOptions) -> Result<Image> {
    let picture = enlarged(&image.to_rgb()?, options.min_cols)?;
    let ranks = &ranks[..ranks.len().min(options.max_bars)];
    if ranks.is_empty() {
        return Ok(picture);
    }
    let text = Text::new()?;
    let cols = picture.cols().max(options.min_cols);
    let layout = Layout::of(cols, picture.rows(), ranks.len(), options.text_scale);

    let rows = if layout.below { picture.rows() + layout.panel_rows() } else { picture.rows() };
    let mut canvas = Canvas::new(rows, cols, BACKGROUND);
    canvas.paste(&picture, 0, (cols - picture.cols()) / 2);

    let panel = layout.panel(rows as f32, cols as f32);
    if !layout.below {
        let radius = layout.size * 0.8;
        canvas.frost(panel, (layout.size * 0.8).ceil() as usize, radius);
        canvas.rounded_rect(panel, radius, PANEL);
    }
    draw_rows(&mut canvas, &text, ranks, &layout, panel);
    canvas.into_image()
}

/// Sizes in pixels, all derived from the size of the text.
struct Layout {
    /// Height of the text.
    size: f32,
    /// Distance of one rank to the next.
    pitch: f32,
    /// Space around the ranks within the panel.
    padding: f32,
    /// Space around the panel.
    margin: f32,
    /// The panel's height.
    height: f32,
    /// The panel is put below the picture, not over it.
    below: bool,
}

impl Layout {
    fn of(cols: usize, rows: usize, bars: usize, text_scale: f32) -> Self {
        // A panorama is wide but not tall: its width alone would make the text too large.
        let extent = (cols as f32).min(rows as f32 * 1.5);
        let smallest = cols as f32 / 34.0;
        let size =
            (extent / 40.0).clamp(15.0f32.min(smallest), 120.0) * text_scale.clamp(0.25, 4.0);
        let (pitch, padding, margin) = (size * 1.62, size * 0.8, size * 0.8);
        let height = bars as f32 * pitch + 2.0 * padding;
        let below = height + margin > rows as f32 * MAX_COVERED;
        Self { size, pitch, padding, margin, height, below }
    }

    /// Rows that the panel adds when it is put below.
    fn panel_rows(&self) -> usize {
        self.height.ceil() as usize
    }

    fn panel(&self, rows: f32, cols: f32) -> Rect {
        let margin = if self.below { 0.0 } else { self.margin };
        Rect {
            left: margin,
            top: rows - margin - self.height,
            right: (cols - margin).min(margin + MAX_PANEL_EMS * self.size),
            bottom: rows - margin,
        }
    }
}

fn draw_rows(
    canvas: &mut Canvas,
    text: &Text,
    ranks: &[(String, f32)],
    layout: &Layout,
    panel: Rect,
) {
    let Layout { size, pitch, padding, .. } = *layout;
    // From the left: labels, bars, percentages (right aligned).
    let side = padding * 1.25;
    let (left, right) = (panel.left + side, panel.right - side);
    let weight = |index: usize| if index == 0 { Weight::Bold } else { Weight::Medium };
    let percents_width = text.width("100.0%", size, Weight::Bold);
    let longest = ranks
        .iter()
        .enumerate()
        .map(|(index, (label, _))| text.width(label, size, weight(index)))
        .fold(0.0, f32::max);
    let gap = size * 0.9;
    // Bars shrink for long labels, but keep a third of the panel.
    let labels_width = longest.min((right - left) * 0.52).max((right - left) * 0.2);
    let bar_left = left + labels_width + gap;
    let bar_right = right - percents_width - gap * 0.8;
    let bar_height = size * 0.62;

    for (index, (label, confidence)) in ranks.iter().enumerate() {
        let middle = panel.top + padding + (index as f32 + 0.5) * pitch;
        let (bar_color, text_color) = if index == 0 { (TOP_BAR, TOP_TEXT) } else { (BAR, TEXT) };
        let weight = weight(index);
        let label = text.fitted(label, size, weight, labels_width);
        text.draw(canvas, &label, [left, middle], size, weight, text_color);

        let percent = percentage(*confidence);
        let start = right - text.width(&percent, size, weight);
        text.draw(canvas, &percent, [start, middle], size, weight, text_color);

        if bar_right - bar_left < bar_height {
            continue;
        }
        let (top, bottom) = (middle - bar_height / 2.0, middle + bar_height / 2.0);
        let track = Rect { left: bar_left, top, right: bar_right, bottom };
        canvas.rounded_rect(track, bar_height / 2.0, TRACK);
        let part = if confidence.is_nan() { 0.0 } else { confidence.clamp(0.0, 1.0) };
        let length = (bar_right - bar_left) * part;
        // Shorter than a hair nothing is seen; a dot would claim too much.
        if length > 0.5 {
            let bar = Rect { right: bar_left + length, ..track };
            canvas.rounded_rect_within(bar, track, bar_height / 2.0, bar_color);
        }
    }
}

fn percentage(confidence: f32) -> String {
    if confidence.is_nan() {
        "–".to_owned()
    } else if confidence > 0.0 && confidence < 0.0005 {
        "<0.1%".to_owned()
    } else {
        format!("{:.1}%", confidence.clamp(0.0, 1.0) * 100.0)
    }
}

/// A picture of at least about `min_cols` columns, enlarged by a whole factor with crisp pixels if
/// it is tiny, else smoothly.
fn enlarged(picture: &Image, min_cols: usize) -> Result<Image> {
    let (rows, cols) = (picture.rows(), picture.cols());
    if cols >= min_cols {
        return Ok(picture.clone());
    }
    if rows.max(cols) <= PIXEL_ART_SIDE {
        let factor = min_cols.div_ceil(cols).min(MAX_ENLARGED_SIDE / rows).max(1);
        return crisp(picture, factor);
    }
    let factor = (min_cols as f64 / cols as f64).min(MAX_ENLARGED_SIDE as f64 / rows as f64);
    if factor <= 1.0 {
        return Ok(picture.clone());
    }
    let side = |side: usize| (side as f64 * factor).round() as usize;
    Ok(stretch(picture, side(rows), side(cols))?.to_bytes())
}

/// An RGB picture enlarged so that each pixel becomes a square of `factor` x `factor`.
fn crisp(picture: &Image, factor: usize) -> Result<Image> {
    let (rows, cols) = (picture.rows() * factor, picture.cols() * factor);
    let mut values = Vec::with_capacity(rows * cols * 3);
    for row in 0..rows {
        for pixel in picture.row(row / factor).chunks_exact(3) {
            for _ in 0..factor {
                values.extend_from_slice(pixel);
            }
        }
    }
    Image::new(rows, cols, 3, values)
}

#[cfg(test)]
mod tests;
