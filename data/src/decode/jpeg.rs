//! JPEG, decoded as libjpeg decodes it, to the bit.
//!
//! ccv decodes with libjpeg, so libjpeg's pixels are the right ones. No published decoder in Rust
//! gives them. Of 1,174 small files over samplings, scan scripts, restart intervals, qualities and
//! colours, zune-jpeg 0.5.15 decoded 164 to garbage and called 350 damaged or panicked (scans that are
//! not interleaved, chroma first, luma below chroma, factors of 3); jpeg-decoder 0.3.2, which is no
//! longer developed, got some mixed factors wrong. On ordinary photos both are up to 4 levels off,
//! for they round otherwise. So this is a decoder of our own, which gives the same pixels as
//! libjpeg-turbo 2.1.5, in safe code but for the choice of AVX2. It decodes sequential and progressive
//! Huffman coding of 8 bits a sample, whatever the scans and the sampling; [`Error::Unsupported`]
//! names what it does not.
//!
//! The usual decoders paint what is missing of a file grey and call it a picture. Here coded data
//! that ends early, a missing scan, a restart marker that is not due, and a missing end-of-image
//! marker are errors.

mod header;
mod huffman;
mod idct;
mod scan;
mod upsample;
mod vectors;

use image::metadata::Orientation;

pub(super) use self::header::Colours;
use self::header::{ColourMarks, Frame, Scan, Segments, Tables};
use self::vectors::Vectors;
use super::Limits;
use crate::{Error, Image, Result};

const FORMAT: &str = "JPEG";

/// Scans beyond this are refused. A progressive file of three components has about ten; each one
/// costs a walk over the whole picture, however few bytes it has.
const MAX_SCANS: usize = 500;

/// Why a file is not decoded.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is of a kind that is not supported.
    Unsupported(String),
    /// It contradicts the format, or ends early.
    Damaged(String),
}

fn damaged(what: impl Into<String>) -> Fault {
    Fault::Damaged(what.into())
}

fn unsupported(what: impl Into<String>) -> Fault {
    Fault::Unsupported(what.into())
}

pub(super) fn decode(bytes: &[u8], name: &str, limits: &Limits) -> Result<(Image, Orientation)> {
    let complete = is_complete(bytes);
    let explain = |fault: Fault| explain(fault, name, bytes.len(), complete);
    let mut segments = Segments { bytes, at: 2 };
    let mut header = Header::default();
    let frame = header.read_frame(&mut segments).map_err(explain)?;
    limits.check(name, frame.rows, frame.cols)?;
    if !complete {
        return Err(explain(damaged("no end-of-image marker")));
    }
    frame.check_sampling().map_err(explain)?;
    let (planes, colours) = header.read_scans(&mut segments, &frame).map_err(explain)?;
    let mut values = Vectors::detected().pixels(&frame, &planes, colours);
    drop(planes);
    let mut channels = frame.components.len();
    if channels == 4 {
        values = rgb_of_inks(&values, header.marks.adobe.is_some());
        channels = 3;
    }
    Ok((Image::new(frame.rows, frame.cols, channels, values)?, header.orientation))
}

/// Rows and columns by the header.
pub(super) fn size(bytes: &[u8]) -> Option<[usize; 2]> {
    let mut segments = Segments { bytes, at: 2 };
    let frame = Header::default().read_frame(&mut segments).ok()?;
    Some([frame.rows, frame.cols])
}

/// A JPEG stream within another file, at most `size` `[rows, cols]`: its shape, and its values as
/// `[rows, cols, channels]`. `tables` is a stream of tables alone that comes first. Its colours are
/// what the other file says.
pub(super) fn part(
    tables: &[u8],
    bytes: &[u8],
    colours: Colours,
    size: [usize; 2],
) -> std::result::Result<([usize; 2], Vec<u8>), Fault> {
    let mut header = Header::default();
    let mut segments = Segments { bytes: tables, at: 2 };
    // Such a stream ends with its last table, with or without a marker.
    while let Ok((marker, body)) = segments.next() {
        if marker == 0xd9 {
            break;
        }
        header.take(marker, body)?;
    }
    let mut segments = Segments { bytes, at: 2 };
    let frame = header.read_frame(&mut segments)?;
    let shape = [frame.rows, frame.cols];
    if shape.contains(&0) || shape[0] > size[0] || shape[1] > size[1] {
        return Err(damaged(format!(
            "a strip or tile of {} x {} pixels where there is room for {} x {}",
            shape[0], shape[1], size[0], size[1]
        )));
    }
    frame.check_sampling()?;
    let (planes, _) = header.read_scans(&mut segments, &frame)?;
    Ok((shape, Vectors::detected().pixels(&frame, &planes, colours)))
}

/// What the segments before and between the scans say.
struct Header {
    tables: Tables,
    marks: ColourMarks,
    orientation: Orientation,
}

impl Default for Header {
    fn default() -> Self {
        let orientation = Orientation::NoTransforms;
        Self { tables: Tables::default(), marks: ColourMarks::default(), orientation }
    }
}

impl Header {
    /// Takes in a segment that is neither a frame's nor a scan's.
    fn take(&mut self, marker: u8, body: &[u8]) -> std::result::Result<(), Fault> {
        if marker == 0xe1
            && let Some(exif) = body.strip_prefix(b"Exif\0\0")
            && let Some(orientation) = Orientation::from_exif_chunk(exif)
        {
            self.orientation = orientation;
        }
        self.marks.read(marker, body);
        self.tables.read(marker, body)
    }

    /// Reads up to the frame header.
    fn read_frame(&mut self, segments: &mut Segments) -> std::result::Result<Frame, Fault> {
        loop {
            match segments.next()? {
                (marker, body) if Frame::is_start(marker) => return Frame::read(marker, body),
                (0xd9, _) => return Err(damaged("the picture ends before its header")),
                (0xda, _) => return Err(damaged("a scan comes before the frame header")),
                (marker, body) => self.take(marker, body)?,
            }
        }
    }

    /// Reads all scans, up to the end of the picture.
    fn read_scans(
        &mut self,
        segments: &mut Segments,
        frame: &Frame,
    ) -> std::result::Result<(Vec<scan::Plane>, Colours), Fault> {
        let mut decoder = scan::Decoder::new(frame);
        let mut colours = None;
        let mut scans = 0;
        loop {
            match segments.next()? {
                (0xd9, _) => break,
                (0xda, body) => {
                    // What comes later says nothing of the colours.
                    colours.get_or_insert(self.marks.colours(frame));
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(unsupported(format!("JPEG with more than {MAX_SCANS} scans")));
                    }
                    decoder.scan(&Scan::read(body, frame)?, &self.tables, segments)?;
                }
                (marker, _) if Frame::is_start(marker) => {
                    return Err(damaged("there are two frame headers"));
                }
                (0xdc, _) => {}
                (marker, body) => self.take(marker, body)?,
            }
        }
        let planes = decoder.finish()?;
        Ok((planes, colours.unwrap_or(Colours::YCbCr)))
    }
}

/// Cyan, magenta, yellow, black to red, green, blue. Adobe's files (and with them nearly all) store
/// the inks inverted: 255 is no ink. Those without Adobe's marker store them plainly.
pub(super) fn rgb_of_inks(inks: &[u8], inverted: bool) -> Vec<u8> {
    let light = |ink: u8| u32::from(if inverted { ink } else { 255 - ink });
    let mut values = Vec::with_capacity(inks.len() / 4 * 3);
    for ink in inks.chunks_exact(4) {
        let black = light(ink[3]);
        values.extend([ink[0], ink[1], ink[2]].map(|c| ((light(c) * black + 127) / 255) as u8));
    }
    values
}

fn explain(fault: Fault, name: &str, bytes: usize, complete: bool) -> Error {
    let name = name.to_owned();
    match fault {
        Fault::Unsupported(what) => Error::Unsupported { name, what },
        Fault::Damaged(detail) if complete => Error::Corrupt { name, format: FORMAT, detail },
        Fault::Damaged(detail) => Error::Truncated { name, format: FORMAT, bytes, detail },
    }
}

/// Whether the end-of-image marker of the (first) picture is there. Segments are skipped by their
/// length, so that the end of a thumbnail within the metadata is not taken for the picture's.
fn is_complete(bytes: &[u8]) -> bool {
    let mut segments = Segments { bytes, at: 2 };
    loop {
        match segments.next() {
            Ok((0xd9, _)) => return true,
            Ok(_) => {}
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thumbnail_is_not_the_pictures() {
        // SOI, APP1 of 6 bytes with an EOI inside, SOS of 2, data with stuffing.
        let mut bytes = b"\xff\xd8\xff\xe1\0\x06\xff\xd9ab\xff\xda\0\x02x\xff\0y".to_vec();
        assert!(!is_complete(&bytes));
        bytes.extend(b"\xff\xd9");
        assert!(is_complete(&bytes));
    }

    #[test]
    fn walks_over_anything() {
        for bytes in [&b""[..], b"\xff", b"\xff\xd8\xff", b"\xff\xd8\xff\xe1\0", b"\xff\xff\xff"] {
            assert!(!is_complete(bytes));
        }
    }

    #[test]
    fn inks() {
        assert_eq!(rgb_of_inks(&[255, 255, 255, 255], true), [255, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 255, 255, 255], true), [0, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 0, 0, 0], false), [255, 255, 255]);
        assert_eq!(rgb_of_inks(&[0, 0, 0, 255], false), [0, 0, 0]);
    }
}
