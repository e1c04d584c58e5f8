//! Paints made-up ranks over a picture: `cargo run --example draw_ranks -- IN OUT.png`.

use striate_data::render::{RankOptions, draw_ranks};
use striate_data::{decode, output};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(input), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: draw_ranks IN OUT.png".into());
    };
    let ranks = [
        ("Egyptian cat", 0.6482),
        ("tabby, tabby cat", 0.2213),
        ("tiger cat", 0.0907),
        ("Shetland sheepdog, Shetland sheep dog, Shetland", 0.0121),
        ("lynx, catamount", 0.0003),
    ];
    let ranks = ranks.map(|(label, confidence)| (label.to_owned(), confidence));
    let picture = draw_ranks(&decode::open(input)?, &ranks, &RankOptions::default())?;
    output::write_png(to, &picture)?;
    Ok(())
}
