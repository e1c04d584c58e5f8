use super::*;

fn ranks(count: usize) -> Vec<(String, f32)> {
    (0..count).map(|i| (format!("class {i}"), 0.6 / (i + 1) as f32)).collect()
}

#[test]
fn any_size_and_confidence_can_be_drawn() {
    let odd = [f32::NAN, f32::INFINITY, -1.0, 0.0, 2.0, 1e-9];
    let ranks: Vec<_> = odd.iter().map(|&c| ("x".repeat(300), c)).collect();
    for (rows, cols) in [(1, 1), (1, 900), (900, 1), (28, 28), (70, 90), (600, 800), (5, 481)] {
        for channels in [1, 3] {
            let image = Image::filled(rows, cols, channels, 200).unwrap();
            let options = RankOptions { max_bars: 9, ..RankOptions::default() };
            let drawn = draw_ranks(&image, &ranks, &options).unwrap();
            assert_eq!(drawn.channels(), 3);
            assert!(drawn.cols() >= 480 && drawn.rows() >= rows, "{:?}", drawn.shape());
        }
    }
}

#[test]
fn a_large_picture_keeps_its_size_and_its_top() {
    let image = Image::filled(600, 800, 3, 90).unwrap();
    let drawn = draw_ranks(&image, &ranks(5), &RankOptions::default()).unwrap();
    assert_eq!(drawn.shape(), [600, 800, 3]);
    let top = 600 * 800 * 3 / 2;
    assert_eq!(drawn.values()[..top], image.values()[..top]);
    assert_ne!(drawn, image);
}

#[test]
fn tiny_pictures_are_enlarged_crisply() {
    let image = Image::new(1, 2, 1, vec![10, 250]).unwrap();
    let drawn = draw_ranks(&image, &[], &RankOptions::default()).unwrap();
    assert_eq!(drawn.shape(), [240, 480, 3]);
    assert!(drawn.values().iter().all(|&v| v == 10 || v == 250));
}

#[test]
fn longer_bars_paint_more() {
    let image = Image::filled(480, 640, 3, 128).unwrap();
    let bar_pixels = |confidence: f32| {
        let ranks = [("a".to_owned(), confidence)];
        let drawn = draw_ranks(&image, &ranks, &RankOptions::default()).unwrap();
        let (pixels, _) = drawn.values().as_chunks::<3>();
        pixels.iter().filter(|p| p.map(f32::from) == TOP_BAR.rgb).count()
    };
    let counts = [0.0, 0.1, 0.5, 1.0].map(bar_pixels);
    assert_eq!(counts[0], 0);
    assert!(counts.is_sorted() && counts[1] * 4 < counts[2], "{counts:?}");
}

#[test]
fn percentages() {
    let cases =
        [(0.0, "0.0%"), (0.0004, "<0.1%"), (0.0005, "0.1%"), (0.5, "50.0%"), (1.5, "100.0%")];
    for (confidence, text) in cases {
        assert_eq!(percentage(confidence), text);
    }
    assert_eq!(percentage(f32::NAN), "–");
}

#[test]
fn two_channels_are_refused() {
    let image = Image::filled(4, 4, 2, 0).unwrap();
    let error = draw_ranks(&image, &ranks(1), &RankOptions::default()).unwrap_err();
    assert!(matches!(error, crate::Error::Channels { got: 2, .. }));
}
