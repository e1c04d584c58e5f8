//! Resizes pictures as Pillow and torchvision do, to compare with them. A line of standard input each:
//!
//!     IN.png ROWS COLS bilinear|bicubic OUT.png
//!
//!     echo samples/cat.png 224 300 bicubic small.png | cargo run -p striate-data --example resize

use std::error::Error;
use std::io::BufRead;
use std::path::Path;

use striate_data::resample::{Kernel, antialias};
use striate_data::{decode, output};

fn main() -> Result<(), Box<dyn Error>> {
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[from, rows, cols, filter, to] = &words[..] else {
            return Err(format!("expected IN ROWS COLS FILTER OUT, got '{line}'").into());
        };
        let kernel = match filter {
            "bilinear" => Kernel::Bilinear,
            "bicubic" => Kernel::Bicubic,
            other => return Err(format!("expected bilinear or bicubic, got {other}").into()),
        };
        let picture = decode::open(from)?;
        let resized = antialias(&picture, rows.parse()?, cols.parse()?, kernel)?;
        output::write_png(Path::new(to), &resized)?;
    }
    Ok(())
}
