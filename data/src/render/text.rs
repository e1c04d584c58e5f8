//! Text on a canvas, in the font that comes with the crate.

use ab_glyph::{Font, FontRef, Point, PxScale, ScaleFont};

use super::canvas::{Canvas, Color};
use crate::{Error, Result};

/// The font that text is drawn in: Inter in a medium weight, a whole OpenType file. Its licence, the
/// SIL Open Font License, lies beside it in the sources.
pub static FONT: &[u8] = include_bytes!("../../assets/fonts/Inter-Medium.otf");
static BOLD: &[u8] = include_bytes!("../../assets/fonts/Inter-Bold.otf");

/// What stands for characters that the font does not have.
const UNKNOWN: char = '□';

/// The characters of a text that the font has no glyph for, each once: they are painted as boxes. The
/// font has Latin, Greek and Cyrillic letters, but no others.
///
/// # Errors
/// [`Error::Font`] when the font cannot be read.
pub fn without_glyph(text: &str) -> Result<Vec<char>> {
    let fonts = Text::new()?;
    let mut without = Vec::new();
    for c in text.chars().filter(|&c| !invisible(c) && !c.is_whitespace() && !c.is_control()) {
        let boxed = |weight| fonts.font(weight).glyph_id(c).0 == 0;
        if (boxed(Weight::Medium) || boxed(Weight::Bold)) && !without.contains(&c) {
            without.push(c);
        }
    }
    Ok(without)
}

/// How heavy text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Medium,
    Bold,
}

/// The fonts, ready to measure and draw.
pub(super) struct Text {
    medium: FontRef<'static>,
    bold: FontRef<'static>,
}

impl Text {
    pub(super) fn new() -> Result<Self> {
        let font = |bytes| {
            FontRef::try_from_slice(bytes).map_err(|e| Error::Font { detail: e.to_string() })
        };
        Ok(Self { medium: font(FONT)?, bold: font(BOLD)? })
    }

    fn font(&self, weight: Weight) -> &FontRef<'static> {
        match weight {
            Weight::Medium => &self.medium,
            Weight::Bold => &self.bold,
        }
    }

    /// The characters that are drawn for a text: none that would break the line, and a sign for
    /// each that the font does not have.
    fn drawable(&self, text: &str, weight: Weight) -> impl Iterator<Item = char> {
        let font = self.font(weight);
        text.chars().filter(|c| !invisible(*c)).map(move |c| {
            if c.is_whitespace() || c.is_control() {
                ' '
            } else if font.glyph_id(c).0 == 0 {
                UNKNOWN
            } else {
                c
            }
        })
    }

    /// The width of a line of text in pixels. `size` is the font's em in pixels.
    pub(super) fn width(&self, text: &str, size: f32, weight: Weight) -> f32 {
        let font = self.font(weight);
        let scaled = font.as_scaled(em(font, size));
        self.drawable(text, weight).map(|c| scaled.h_advance(font.glyph_id(c))).sum()
    }

    /// The text, or as much of its start as fits `width` with an ellipsis.
    pub(super) fn fitted(&self, text: &str, size: f32, weight: Weight, width: f32) -> String {
        let text: String = self.drawable(text.trim(), weight).collect();
        // A label as long as the column must not lose a letter to rounding.
        if self.width(&text, size, weight) <= width + 0.5 {
            return text;
        }
        let mut end = 0;
        let font = self.font(weight);
        let scaled = font.as_scaled(em(font, size));
        let mut used = self.width("…", size, weight);
        for (at, c) in text.char_indices() {
            used += scaled.h_advance(font.glyph_id(c));
            if used > width {
                break;
            }
            end = at + c.len_utf8();
        }
        let start = text[..end].trim_end_matches([' ', ',', ';', '-']);
        format!("{start}…")
    }

    /// Draws a line of text from `at` (`[x, y]`), `y` being the middle of its capital letters.
    pub(super) fn draw(
        &self,
        canvas: &mut Canvas,
        text: &str,
        at: [f32; 2],
        size: f32,
        weight: Weight,
        color: Color,
    ) {
        let font = self.font(weight);
        let scale = em(font, size);
        let scaled = font.as_scaled(scale);
        // Inter's capitals are 0.727 em high. A whole number, so that all rows are equally sharp.
        let baseline = (at[1] + 0.727 * size / 2.0).round();
        let mut x = at[0];
        for c in self.drawable(text, weight) {
            let id = font.glyph_id(c);
            let glyph = id.with_scale_and_position(scale, Point { x, y: baseline });
            x += scaled.h_advance(id);
            let Some(outline) = font.outline_glyph(glyph) else { continue };
            let bounds = outline.px_bounds();
            let (left, top) = (bounds.min.x as i64, bounds.min.y as i64);
            outline.draw(|col, row, part| {
                canvas.blend(top + i64::from(row), left + i64::from(col), color, part);
            });
        }
    }
}

/// The scale at which the font's em has `size` pixels (the library scales by ascent - descent).
fn em(font: &FontRef<'_>, size: f32) -> PxScale {
    let units = font.units_per_em().unwrap_or(1000.0);
    PxScale::from(size * font.height_unscaled() / units)
}

/// Characters that take no place: joiners, direction marks, variation selectors, byte order marks.
fn invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ad}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_ends_in_an_ellipsis_and_fits() {
        let text = Text::new().unwrap();
        let label = "Egyptian cat, and then a very long description of it";
        for width in [20.0, 50.0, 100.0, 200.0] {
            let fitted = text.fitted(label, 16.0, Weight::Medium, width);
            assert!(fitted.ends_with('…'), "{fitted}");
            assert!(text.width(&fitted, 16.0, Weight::Medium) <= width);
        }
        assert_eq!(text.fitted(label, 16.0, Weight::Medium, 1e4), label);
        assert_eq!(text.fitted(label, 16.0, Weight::Medium, 0.0), "…");
        let width = text.width("Egyptian cat, a…", 16.0, Weight::Bold) - 1.0;
        assert_eq!(text.fitted(label, 16.0, Weight::Bold, width), "Egyptian cat…");
    }

    #[test]
    fn characters_the_font_lacks_get_a_sign() {
        let text = Text::new().unwrap();
        for weight in [Weight::Medium, Weight::Bold] {
            assert_ne!(text.font(weight).glyph_id(UNKNOWN).0, 0);
            assert_ne!(text.font(weight).glyph_id('…').0, 0);
            let fitted = text.fitted("a猫\tb\u{200d}\u{7}é", 16.0, weight, 1e4);
            assert_eq!(fitted, "a□ b é");
        }
        assert_eq!(without_glyph("猫 a猫Ж λ\u{200d}\n犬é🐈").unwrap(), ['猫', '犬', '🐈']);
        assert!(without_glyph("Egyptian cat (285)").unwrap().is_empty());
    }

    #[test]
    fn an_em_is_an_em() {
        let text = Text::new().unwrap();
        // The em dash of Inter is 0.97..1.5 em wide in all weights.
        let width = text.width("—", 100.0, Weight::Medium);
        assert!((90.0..160.0).contains(&width), "{width}");
    }
}
