use super::*;
use proptest::prelude::*;

fn picture(rows: usize, cols: usize, channels: usize) -> Image {
    let value = |i: usize| (i * 37 + i / 11 * 5 + i / 301) as u8;
    Image::new(rows, cols, channels, (0..rows * cols * channels).map(value).collect()).unwrap()
}

fn geometry(image: usize, net: usize, channels: usize) -> Geometry {
    Geometry { image: [image; 2], net: [net; 2], channels, scan_scale: 1 }
}

fn colors() -> ColorComponents {
    ColorComponents::of([[300.0, 200.0, 100.0], [200.0, 400.0, 50.0], [100.0, 50.0, 200.0]])
}

fn augmenter(recipe: &Recipe, geometry: &Geometry, mean: Option<&FloatImage>) -> Augmenter {
    Augmenter::new(recipe, geometry, mean, Some(&colors())).unwrap()
}

fn trained(augmenter: &Augmenter, picture: &Image, position: u64) -> Vec<f32> {
    let mut input = vec![0.0; augmenter.input_len()];
    let key = SampleKey { seed: 5, epoch: 2, position };
    augmenter.train(picture, key, &mut input).unwrap();
    input
}

/// `recipe` without anything that changes single values.
fn places_only(name: &str) -> Recipe {
    Recipe { manipulation: 0.0, color_gain: 0.0, ..Recipe::by_name(name).unwrap() }
}

#[test]
fn crops_and_mirrors_are_parts_of_the_picture_and_all_occur() {
    let image = picture(8, 10, 3);
    let augmenter = augmenter(&places_only("ccv"), &geometry(8, 6, 3), None);
    // Every place (3 x 5) and mirror that there is.
    let mut parts = Vec::new();
    for (top, left) in (0..3).flat_map(|top| (0..5).map(move |left| (top, left))) {
        let part = image.to_float().crop(top, left, 6, 6).unwrap();
        parts.extend([part.flip_horizontal().into_values(), part.into_values()]);
    }
    let mut counts = vec![0; parts.len()];
    let draws = 3000;
    for position in 0..draws {
        let got = trained(&augmenter, &image, position);
        counts[parts.iter().position(|part| *part == got).unwrap()] += 1;
    }
    // 100 each, deviation 10.
    assert!(counts.iter().all(|count| (50..150).contains(count)), "{counts:?}");
}

#[test]
fn the_mean_is_subtracted_at_its_place() {
    let image = picture(8, 8, 3);
    let mean = FloatImage::new(8, 8, 3, (0..192).map(|i| i as f32 * 1000.0).collect()).unwrap();
    let whole = geometry(8, 6, 3);

    // `caffe` here: the same place, so that some crop of the difference is it.
    let difference = image.to_float().subtract(&mean).unwrap();
    let here = augmenter(&places_only("caffe"), &whole, Some(&mean));
    let is_a_crop = |got: &[f32]| {
        (0..9).any(|at| {
            let part = difference.crop(at / 3, at % 3, 6, 6).unwrap();
            part.values() == got || part.flip_horizontal().values() == got
        })
    };
    assert!((0..50).all(|position| is_a_crop(&trained(&here, &image, position))));

    // `ccv`: any other, of the symmetric mean.
    let elsewhere = augmenter(&places_only("ccv"), &whole, Some(&mean));
    let symmetric = elsewhere.mean().unwrap();
    assert_eq!(symmetric.flip_horizontal(), *symmetric);
    assert!((0..50).any(|position| !is_a_crop(&trained(&elsewhere, &image, position))));
}

#[test]
fn the_test_view_rounds_its_offset_up() {
    let image = picture(9, 12, 1);
    let mean = FloatImage::new(9, 9, 1, (0..81).map(|i| i as f32).collect()).unwrap();
    let plain = augmenter(&Recipe::by_name("plain").unwrap(), &geometry(9, 6, 1), Some(&mean));
    let mut input = vec![0.0; 36];
    plain.test(&image, &mut input).unwrap();
    // (9 - 6 + 1) / 2 = 2, (12 - 6 + 1) / 2 = 3; the mean's (9 - 6 + 1) / 2 = 2.
    let part = image.to_float().crop(2, 3, 6, 6).unwrap();
    let want = part.subtract(&mean.crop(2, 2, 6, 6).unwrap()).unwrap();
    assert_eq!(input, want.values());
    // `plain` trains on nothing else.
    assert_eq!(trained(&plain, &image, 3), input);
}

#[test]
fn colour_gain_shifts_a_whole_picture_along_the_components() {
    let image = picture(8, 8, 3);
    let place = Recipe { crop: CropPosition::Random, ..Recipe::by_name("plain").unwrap() };
    let place = Recipe { area: Area::Centre, color_gain: 0.01, ..place };
    let none = Recipe { color_gain: 0.0, ..place.clone() };
    let whole = geometry(8, 8, 3);
    let (with, without) = (augmenter(&place, &whole, None), augmenter(&none, &whole, None));
    let mut squares = [0f64; 3];
    let draws = 2000;
    for position in 0..draws {
        let (a, b) = (trained(&with, &image, position), trained(&without, &image, position));
        let shift = [0, 1, 2].map(|c| f64::from(a[c] - b[c]));
        for (a, b) in a.chunks(3).zip(b.chunks(3)) {
            assert!((0..3).all(|c| (f64::from(a[c] - b[c]) - shift[c]).abs() < 1e-4));
        }
        for (square, vector) in squares.iter_mut().zip(colors().vectors) {
            *square += shift.iter().zip(vector).map(|(s, v)| s * f64::from(v)).sum::<f64>().powi(2);
        }
    }
    for (square, value) in squares.iter().zip(colors().values) {
        let deviation = (square / draws as f64).sqrt() / f64::from(value);
        assert!((deviation - 0.01).abs() < 0.001, "{deviation}");
    }
}

#[test]
fn manipulation_changes_light_within_its_range() {
    // Of one colour: contrast does nothing, brightness scales.
    let flat = Image::filled(8, 8, 1, 100).unwrap();
    let recipe = Recipe { mirror: false, ..Recipe::by_name("ccv").unwrap() };
    let grey = Augmenter::new(&recipe, &geometry(8, 6, 1), None, None).unwrap();
    let values: Vec<f32> = (0..500).map(|position| trained(&grey, &flat, position)[0]).collect();
    let (low, high) = values.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
    assert!((79.9..82.0).contains(&low) && (118.0..120.1).contains(&high), "{low} {high}");
}

#[test]
fn every_other_view_is_inverted_about_an_even_mean() {
    let recipe = Recipe { invert: true, ..places_only("ccv") };
    let flat = Image::filled(8, 8, 1, 100).unwrap();
    let at = geometry(8, 6, 1);
    let dataset = crate::Dataset::from_images(vec![flat.clone()], vec![0]).unwrap();
    let limits = crate::decode::Limits::default();
    let found = crate::Statistics::compute(&dataset, &recipe, &at, &limits, &|_| {}).unwrap();
    let inverting = Augmenter::new(&recipe, &at, Some(&found.mean), None).unwrap();
    let views: Vec<f32> =
        (0..400).map(|position| trained(&inverting, &flat, position)[7]).collect();
    let inverted = views.iter().filter(|&&v| v == 27.5).count();
    assert_eq!(views.iter().filter(|&&v| v == -27.5).count(), 400 - inverted);
    assert!((160..240).contains(&inverted), "{inverted}");
}

#[test]
fn sizes_are_drawn_between_their_ends() {
    let side = Side::Drawn { min: 6, max: 9 };
    let recipe = Recipe { side, ..places_only("ccv") };
    let flat = Image::filled(12, 12, 3, 50).unwrap();
    let drawn = augmenter(&recipe, &geometry(8, 6, 3), None);
    assert!(trained(&drawn, &flat, 1).iter().all(|v| (v - 50.0).abs() < 0.1));
    let sizes: Vec<_> = (0..40).map(|i| recipe.drawn_whole([8, 8], i as f32 / 40.0)[0]).collect();
    assert_eq!((sizes[0], sizes[39]), (6, 9));
    assert!((6..=9).all(|size| sizes.iter().filter(|&&s| s == size).count() == 10));
}

#[test]
fn recipes_are_data_and_nonsense_is_refused() {
    for name in Recipe::NAMES {
        let recipe: Recipe = name.parse().unwrap();
        let text = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&text).unwrap(), recipe);
        let alex = geometry(257, 225, 3);
        assert!(recipe.check(&alex).is_ok() && recipe.check(&geometry(28, 28, 1)).is_ok());
        let side = if matches!(name, "ccv" | "plain") { 257 } else { 256 };
        assert_eq!(recipe.whole(&alex), [side; 2]);
    }
    assert!(matches!(Recipe::by_name("soup"), Err(Error::Setting { .. })));
    let ccv = Recipe::by_name("ccv").unwrap();
    let at = geometry(9, 6, 3);
    let refused = |recipe: Recipe| Augmenter::new(&recipe, &at, None, Some(&colors())).is_err();
    assert!(refused(Recipe { turn: 181.0, ..ccv.clone() }));
    assert!(refused(Recipe { turn: f32::NAN, ..ccv.clone() }));
    assert!(refused(Recipe { invert: true, ..Recipe::by_name("alex").unwrap() }));
    assert!(refused(Recipe { manipulation: f32::NAN, ..ccv.clone() }));
    assert!(refused(Recipe { color_gain: -1.0, ..ccv.clone() }));
    assert!(refused(Recipe { mean: MeanPatch::Here, ..ccv.clone() }));
    assert!(refused(Recipe { side: Side::Drawn { min: 5, max: 9 }, ..ccv.clone() }));
    assert!(refused(Recipe { side: Side::Drawn { min: 9, max: 8 }, ..ccv.clone() }));
    assert!(matches!(Augmenter::new(&ccv, &at, None, None), Err(Error::Setting { .. })));
    let grey = FloatImage::filled(9, 9, 1, 0.0).unwrap();
    let wrong = Augmenter::new(&ccv, &at, Some(&grey), Some(&colors()));
    assert!(matches!(wrong, Err(Error::Shape { .. })));
    let mut short = [0.0; 5];
    let ready = augmenter(&ccv, &at, None);
    assert!(matches!(ready.test(&picture(9, 9, 3), &mut short), Err(Error::BufferLength { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_picture_through_any_recipe(
        rows in 1usize..40, cols in 1usize..40, grey in any::<bool>(), net in 1usize..12,
        more in 0usize..9, channels in prop::sample::select(vec![1usize, 3]),
        name in prop::sample::select(Recipe::NAMES.to_vec()), position in any::<u64>(),
    ) {
        let image = picture(rows, cols, if grey { 1 } else { 3 });
        let mean = FloatImage::filled(net + more, net + more, channels, 30.0).unwrap();
        let recipe = Recipe::by_name(name).unwrap();
        let ready = augmenter(&recipe, &geometry(net + more, net, channels), Some(&mean));
        let once = trained(&ready, &image, position);
        prop_assert!(once.iter().all(|v| v.is_finite()));
        prop_assert_eq!(once, trained(&ready, &image, position));
    }

    #[test]
    fn an_order_is_a_permutation(seed in any::<u64>(), epoch in any::<u32>(), count in 0u32..200) {
        let mut order = epoch_order(seed, epoch, count);
        order.sort();
        prop_assert!(order.into_iter().eq(0..count));
    }
}

#[test]
fn a_stored_view_forms_what_the_augmenter_tests() {
    for (image, net) in [(12, 9), (13, 10), (257, 225)] {
        let geometry = geometry(image, net, 3);
        let mean = (0..image * image * 3).map(|i| 90.0 + (i % 41) as f32).collect();
        let mean = FloatImage::new(image, image, 3, mean).unwrap();
        for name in Recipe::NAMES {
            let recipe = Recipe::by_name(name).unwrap();
            let augmenter = augmenter(&recipe, &geometry, Some(&mean));
            let json = serde_json::to_string(augmenter.test_view()).unwrap();
            let view: TestView = json.parse().unwrap();
            assert_eq!(view, TestView::of(&recipe, &geometry));
            let former = ViewFormer::new(view, &geometry, Some(&mean)).unwrap();
            for (rows, cols) in
                [(image + 7, image + 40), (image - 4, image + 3), (3, 5), (image, image)]
            {
                let image = picture(rows, cols, 3);
                let mut input = vec![0.0; augmenter.input_len()];
                augmenter.test(&image, &mut input).unwrap();
                assert_eq!(former.form(&image).unwrap().values(), input, "{name} {rows} x {cols}");
                if name == "plain" {
                    // All that is known of a network without a record.
                    let plain = crate::Protocol::Tested.prepare(&image, &geometry, Some(&mean));
                    assert_eq!(plain.unwrap().pictures()[0].values(), input);
                }
            }
        }
    }
}

#[test]
fn the_stored_form_of_a_view_is_stable() {
    let view = TestView::of(&Recipe::by_name("caffe").unwrap(), &geometry(257, 225, 3));
    let json = r#"{"resize":"stretch","size":[256,256],"crop":"centre","mean":"plain"}"#;
    assert_eq!(serde_json::to_string(&view).unwrap(), json);
    let view = TestView::of(&Recipe::by_name("ccv").unwrap(), &geometry(40, 30, 1));
    let json = r#"{"resize":"cover","size":[40,40],"crop":"centre","mean":"symmetric"}"#;
    assert_eq!(serde_json::to_string(&view).unwrap(), json);
    let bare = Recipe { mean: MeanPatch::None, ..Recipe::default() };
    assert_eq!(TestView::of(&bare, &geometry(40, 30, 1)).mean, TestMean::None);
    for (wrong, part) in [
        (r#"{"resize":"warp","size":[4,4],"crop":"centre","mean":"plain"}"#, "`warp`"),
        (r#"{"resize":"cover","size":[4,4],"crop":"centre","mean":"plain","x":1}"#, "`x`"),
    ] {
        let message = wrong.parse::<TestView>().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
    let small = TestView { size: [29, 40], ..view };
    let message = ViewFormer::new(small, &geometry(40, 30, 1), None).unwrap_err().to_string();
    assert!(message.contains("the network's input [30, 30]"), "{message}");
}
