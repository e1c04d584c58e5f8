//! A small training set, and `striate train` on it.

use std::path::Path;

use striate::tensor::RandomKey;

use super::{Run, run};

/// Pictures of the training set.
pub(crate) const COUNT: usize = 83;

/// A folder with a specification and IDX files of 8 x 8 pictures: a bright row, column or square.
pub(crate) struct Bars(tempfile::TempDir);

impl Bars {
    pub(crate) fn new() -> Self {
        let bars = Bars(tempfile::tempdir().unwrap());
        bars.idx("train", COUNT, 1);
        bars.idx("t10k", 30, 2);
        let spec = r#"{"name": "bars", "input": [8, 8, 1], "layers": [
            {"kind": "conv", "count": 6, "kernel": [3, 3]},
            {"kind": "max-pool", "size": 2, "stride": 2},
            {"kind": "full-connect", "count": 12, "relu": true, "dropout": 0.5},
            {"kind": "full-connect", "count": 3}]}"#;
        std::fs::write(bars.path().join("bars.json"), spec).unwrap();
        bars
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    fn idx(&self, name: &str, count: usize, seed: u64) {
        let mut images: Vec<u8> = vec![0, 0, 8, 3];
        let mut labels: Vec<u8> = vec![0, 0, 8, 1];
        for extent in [count, 8, 8] {
            images.extend(u32::try_from(extent).unwrap().to_be_bytes());
        }
        labels.extend(u32::try_from(count).unwrap().to_be_bytes());
        for i in 0..count {
            let key = RandomKey::new(seed, i as u64);
            let place = 2 + (key.number(1000) % 4) as usize;
            labels.push((i % 3) as u8);
            images.extend((0..64).map(|p| {
                let (row, col) = (p / 8, p % 8);
                let bright = match i % 3 {
                    0 => row == place,
                    1 => col == place,
                    _ => row.abs_diff(place) <= 1 && col.abs_diff(place) <= 1,
                };
                (key.number(p as u64) % 60) as u8 + if bright { 190 } else { 0 }
            }));
        }
        std::fs::write(self.path().join(format!("{name}-images-idx3-ubyte")), images).unwrap();
        std::fs::write(self.path().join(format!("{name}-labels-idx1-ubyte")), labels).unwrap();
    }

    /// `striate train` with the usual options and more.
    pub(crate) fn train(&self, working: &str, more: &[&str]) -> Run {
        run(&[&self.args(working)[..], more].concat(), self.path())
    }

    pub(crate) fn args<'a>(&self, working: &'a str) -> Vec<&'a str> {
        let text = "train --spec bars.json --train-list train-images-idx3-ubyte \
                    --test-list t10k-images-idx3-ubyte --device cpu --mini-batch 8 \
                    --learn-rate 0.0005 --working";
        text.split_whitespace().chain([working]).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }
}
