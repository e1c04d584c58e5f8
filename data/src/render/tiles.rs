//! Sheets of tiles: many small pictures of one size in a grid, such as the kernels of a
//! convolution or the channels of an activation.

use super::canvas::Canvas;
use super::text::{Text, Weight};
use super::{BACKGROUND, TOP_TEXT};
use crate::{Error, Image, Result, resample};

/// How [`draw_tiles`] lays out a sheet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TileOptions {
    /// Pixels a side of each pixel of a tile; `None` for what makes a sheet about `cols` wide, where
    /// tiles that are too large for it are shrunk.
    pub zoom: Option<usize>,
    /// The width aimed at, in pixels.
    pub cols: usize,
    /// Pixels between tiles and around them.
    pub gap: usize,
}

impl Default for TileOptions {
    fn default() -> Self {
        Self { zoom: None, cols: 960, gap: 2 }
    }
}

/// Tiles that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct TileSection {
    /// What stands above them; nothing where it is empty.
    pub caption: String,
    /// Pictures of one size, of 1 or 3 channels; at least one.
    pub tiles: Vec<Image>,
}

/// More is enlarged no further where nobody asks for it: a kernel of 3 x 3 needs no larger squares.
const MAX_ZOOM: usize = 24;

/// More pixels than any sheet is looked at with, and few enough to hold.
const MAX_PIXELS: u64 = 1 << 28;

/// Height of a caption's text, in pixels, where the sheet is wide enough.
const CAPTION_SIZE: f32 = 18.0;

/// Draws each section as a grid, row by row, one section below the other. Pixels are enlarged to
/// crisp squares.
///
/// The result has three channels. A grid without a caption of `c` x `r` tiles of `w` x `h` pixels is
/// `c · (w · zoom + gap) + gap` columns wide, and as high likewise.
///
/// # Errors
/// [`Error::NoPixels`] where there is no tile to draw, [`Error::Shape`] where the tiles of a section
/// have different sizes, [`Error::Channels`] where they have neither 1 nor 3 channels, and
/// [`Error::Drawing`] where the zoom asks for more than 2^28 pixels.
pub fn draw_tiles(sections: &[TileSection], options: &TileOptions) -> Result<Image> {
    let grids = sections.iter().map(|s| Grid::of(s, options)).collect::<Result<Vec<_>>>()?;
    let captions = grids.iter().any(|grid| !grid.caption.is_empty());
    let cols = grids.iter().map(Grid::cols).max().unwrap_or(0);
    let text_size = CAPTION_SIZE.min(cols as f32 / 20.0);
    let caption_rows = |grid: &Grid| match grid.caption {
        "" => 0,
        _ => (text_size * 2.0).ceil() as usize,
    };
    let rows = grids
        .iter()
        .map(|grid| grid.rows().saturating_add(caption_rows(grid)))
        .fold(0, usize::saturating_add);
    if rows.saturating_mul(cols) as u64 > MAX_PIXELS {
        return Err(Error::Drawing { rows, cols, limit: MAX_PIXELS });
    }

    let text = if captions { Some(Text::new()?) } else { None };
    let mut canvas = Canvas::new(rows, cols, BACKGROUND);
    let mut top = 0;
    for grid in &grids {
        let height = caption_rows(grid);
        if let (Some(text), true) = (&text, height > 0) {
            let at = [text_size * 0.5, top as f32 + height as f32 * 0.55];
            let room = cols as f32 - text_size;
            let caption = text.fitted(grid.caption, text_size, Weight::Medium, room);
            text.draw(&mut canvas, &caption, at, text_size, Weight::Medium, TOP_TEXT);
        }
        grid.draw(&mut canvas, top + height, options.gap)?;
        top += height + grid.rows();
    }
    canvas.into_image()
}

/// The places of the tiles of a section.
struct Grid<'a> {
    caption: &'a str,
    tiles: &'a [Image],
    /// Tiles a row.
    across: usize,
    down: usize,
    /// Rows and cols of a tile as it is drawn.
    tile: [usize; 2],
    gap: usize,
}

impl<'a> Grid<'a> {
    fn of(section: &'a TileSection, options: &TileOptions) -> Result<Self> {
        let TileSection { caption, tiles } = section;
        let Some(first) = tiles.first() else {
            return Err(Error::NoPixels { name: "a sheet of no tiles".into(), rows: 0, cols: 0 });
        };
        if let Some(odd) = tiles.iter().find(|tile| tile.shape() != first.shape()) {
            let operation = "a sheet of tiles";
            return Err(Error::Shape { operation, expected: first.shape(), got: odd.shape() });
        }
        let across = across(tiles.len());
        let [rows, cols, _] = first.shape();
        let room =
            (options.cols.saturating_sub(options.gap) / across).saturating_sub(options.gap).max(1);
        let zoomed = |zoom: usize| [rows.saturating_mul(zoom), cols.saturating_mul(zoom)];
        let tile = match options.zoom {
            Some(zoom) => zoomed(zoom.max(1)),
            None if cols <= room => zoomed((room / cols).min(MAX_ZOOM)),
            None => [(rows * room / cols).max(1), room],
        };
        let down = tiles.len().div_ceil(across);
        Ok(Self { caption, tiles, across, down, tile, gap: options.gap })
    }

    fn rows(&self) -> usize {
        side(self.down, self.tile[0], self.gap)
    }

    fn cols(&self) -> usize {
        side(self.across, self.tile[1], self.gap)
    }

    fn draw(&self, canvas: &mut Canvas, top: usize, gap: usize) -> Result<()> {
        let [rows, cols] = self.tile;
        for (index, tile) in self.tiles.iter().enumerate() {
            let tile = tile.to_rgb()?;
            let drawn = if cols >= tile.cols() {
                super::crisp(&tile, cols / tile.cols())?
            } else {
                resample::area(&tile, rows, cols)?.to_bytes()
            };
            let row = gap + index / self.across * (rows + gap);
            let col = gap + index % self.across * (cols + gap);
            canvas.paste(&drawn, top + row, col);
        }
        Ok(())
    }
}

fn side(count: usize, tile: usize, gap: usize) -> usize {
    tile.saturating_add(gap).saturating_mul(count).saturating_add(gap)
}

/// How many of `count` tiles stand in a row: what fills all rows and is not much wider than high,
/// else a square whose last row ends early.
fn across(count: usize) -> usize {
    let root = count.isqrt();
    let square = if root * root < count { root + 1 } else { root.max(1) };
    // A width of w leaves count / w rows: w at most 1.5 roots is 9 to 4.
    (square..=square + square / 2).find(|&w| count.is_multiple_of(w)).unwrap_or(square)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(count: usize, rows: usize, cols: usize) -> TileSection {
        let tile = |i: usize| Image::filled(rows, cols, 1, 100 + i as u8).unwrap();
        TileSection { caption: String::new(), tiles: (0..count).map(tile).collect() }
    }

    #[test]
    fn tiles_stand_in_full_rows_where_they_can() {
        let cases = [(1, 1), (2, 2), (3, 3), (4, 2), (6, 3), (20, 5), (96, 12), (48, 8), (7, 3)];
        for (count, expected) in cases {
            assert_eq!(across(count), expected, "{count}");
        }
    }

    #[test]
    fn every_tile_is_where_it_belongs() {
        let options = TileOptions { zoom: Some(3), gap: 1, ..TileOptions::default() };
        let sheet = draw_tiles(&[section(6, 2, 4)], &options).unwrap();
        assert_eq!(sheet.shape(), [2 * (6 + 1) + 1, 3 * (12 + 1) + 1, 3]);
        let pixel = |row: usize, col: usize| sheet.row(row)[col * 3];
        for index in 0..6 {
            let (row, col) = (1 + index / 3 * 7, 1 + index % 3 * 13);
            let value = 100 + index as u8;
            assert_eq!((pixel(row, col), pixel(row + 5, col + 11)), (value, value));
            assert_ne!(pixel(row - 1, col), value);
        }
    }

    #[test]
    fn tiles_fill_the_width_or_shrink_into_it() {
        let cols = |section| draw_tiles(&[section], &TileOptions::default()).unwrap().cols();
        assert!((880..=960).contains(&cols(section(64, 11, 11))));
        assert!((900..=960).contains(&cols(section(64, 225, 225))));
        // Not even one tile may grow without end.
        assert_eq!(cols(section(1, 3, 3)), 3 * MAX_ZOOM + 4);
    }

    #[test]
    fn a_caption_takes_its_place_above() {
        let plain = draw_tiles(&[section(4, 40, 40)], &TileOptions::default()).unwrap();
        let named = TileSection { caption: "layer 0".into(), ..section(4, 40, 40) };
        let sheet = draw_tiles(&[named], &TileOptions::default()).unwrap();
        assert_eq!(sheet.rows(), plain.rows() + 36);
        assert!(sheet.values()[..sheet.cols() * 36 * 3].iter().any(|&v| v > 200));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let draw = |sections: &[TileSection], zoom| {
            draw_tiles(sections, &TileOptions { zoom, ..TileOptions::default() })
        };
        assert!(matches!(draw(&[], None), Err(Error::NoPixels { .. })));
        assert!(matches!(draw(&[section(0, 1, 1)], None), Err(Error::NoPixels { .. })));
        let mut odd = section(2, 3, 3);
        odd.tiles.push(Image::filled(3, 4, 1, 0).unwrap());
        assert!(matches!(draw(&[odd], None), Err(Error::Shape { .. })));
        for zoom in [1 << 14, usize::MAX] {
            let error = draw(&[section(4, 3, 3)], Some(zoom)).unwrap_err();
            assert!(matches!(error, Error::Drawing { .. }), "{error}");
        }
    }
}
