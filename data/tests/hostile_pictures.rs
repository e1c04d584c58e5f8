//! Picture files with bytes changed at random: a picture or an error comes out, without a panic,
//! soon, and no picture is larger than the limit.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_data::decode::{self, Limits};

fn fixtures() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut paths: Vec<_> = [folder.clone(), folder.join("jpeg")]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "jpg" || e == "webp" || e == "tif"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

const LIMITS: Limits = Limits { max_pixels: 1 << 18, max_side: 1 << 14, max_bytes: 1 << 20 };

fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(image) = decode::decode_with(bytes, "x", &LIMITS) {
        prop_assert!((image.rows() * image.cols()) as u64 <= LIMITS.max_pixels);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    /// Most of a header stands at the front: half the changes go there.
    #[test]
    fn changed_bytes(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let files = fixtures();
        let mut bytes = files[file.index(files.len())].clone();
        for (place, front, value) in changes {
            let length = if front { bytes.len().min(700) } else { bytes.len() };
            bytes[place.index(length)] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()) + 1);
        }
        check(&bytes)?;
    }

    /// Segments put in another order, doubled or left out.
    #[test]
    fn shuffled_jpeg_segments(
        file in any::<prop::sample::Index>(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..12),
    ) {
        let files = fixtures();
        let bytes = &files[file.index(files.len())];
        let mut parts = Vec::new();
        let mut start = 0;
        for at in 2..bytes.len().saturating_sub(1) {
            if bytes[at] == 0xff && bytes[at + 1] >= 0xc0 {
                parts.push(&bytes[start..at]);
                start = at;
            }
        }
        parts.push(&bytes[start..]);
        let mut shuffled = parts[0].to_vec();
        for index in order {
            shuffled.extend_from_slice(parts[index.index(parts.len())]);
        }
        check(&shuffled)?;
    }
}
