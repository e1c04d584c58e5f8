//! Parameters and products of every network, beside what is published of it.

#![allow(clippy::unwrap_used)]

use striate_models::{all, by_name, find};

/// A network by name, its parameters, and its products for one image in 10^9.
type Row = (&'static str, u64, f64);

/// What torchvision (0.29) publishes with its weights: `num_params`, and `_ops`, which it calls GFLOPS and
/// which counts a product and its sum as one. AlexNet, GoogLeNet and Inception v3 are here under our names
/// for what was counted.
const TORCHVISION: &[Row] = &[
    ("alexnet_torchvision", 61_100_840, 0.714),
    ("convnext_base", 88_591_464, 15.355),
    ("convnext_large", 197_767_336, 34.361),
    ("convnext_small", 50_223_688, 8.684),
    ("convnext_tiny", 28_589_128, 4.456),
    ("densenet121", 7_978_856, 2.834),
    ("densenet161", 28_681_000, 7.728),
    ("densenet169", 14_149_480, 3.36),
    ("densenet201", 20_013_928, 4.291),
    ("efficientnet_b0", 5_288_548, 0.386),
    ("efficientnet_b1", 7_794_184, 0.687),
    ("efficientnet_b2", 9_109_994, 1.088),
    ("efficientnet_b3", 12_233_232, 1.827),
    ("efficientnet_b4", 19_341_616, 4.394),
    ("efficientnet_b5", 30_389_784, 10.266),
    ("efficientnet_b6", 43_040_704, 19.068),
    ("efficientnet_b7", 66_347_960, 37.746),
    ("efficientnet_v2_l", 118_515_272, 56.08),
    ("efficientnet_v2_m", 54_139_356, 24.582),
    ("efficientnet_v2_s", 21_458_488, 8.366),
    ("googlenet_no_aux", 6_624_904, 1.498),
    ("inception_v3_no_aux", 23_834_568, 5.713),
    ("mnasnet0_5", 2_218_512, 0.104),
    ("mnasnet0_75", 3_170_208, 0.215),
    ("mnasnet1_0", 4_383_312, 0.314),
    ("mnasnet1_3", 6_282_256, 0.526),
    ("mobilenet_v2", 3_504_872, 0.301),
    ("mobilenet_v3_large", 5_483_032, 0.217),
    ("mobilenet_v3_small", 2_542_856, 0.057),
    ("regnet_x_16gf", 54_278_536, 15.941),
    ("regnet_x_1_6gf", 9_190_136, 1.603),
    ("regnet_x_32gf", 107_811_560, 31.736),
    ("regnet_x_3_2gf", 15_296_552, 3.177),
    ("regnet_x_400mf", 5_495_976, 0.414),
    ("regnet_x_800mf", 7_259_656, 0.8),
    ("regnet_x_8gf", 39_572_648, 7.995),
    ("regnet_y_128gf", 644_812_894, 127.518),
    ("regnet_y_16gf", 83_590_140, 15.912),
    ("regnet_y_1_6gf", 11_202_430, 1.612),
    ("regnet_y_32gf", 145_046_770, 32.28),
    ("regnet_y_3_2gf", 19_436_338, 3.176),
    ("regnet_y_400mf", 4_344_144, 0.402),
    ("regnet_y_800mf", 6_432_512, 0.834),
    ("regnet_y_8gf", 39_381_472, 8.473),
    ("resnet101", 44_549_160, 7.801),
    ("resnet152", 60_192_808, 11.514),
    ("resnet18", 11_689_512, 1.814),
    ("resnet34", 21_797_672, 3.664),
    ("resnet50", 25_557_032, 4.089),
    ("resnext101_32x8d", 88_791_336, 16.414),
    ("resnext101_64x4d", 83_455_272, 15.46),
    ("resnext50_32x4d", 25_028_904, 4.23),
    ("shufflenet_v2_x0_5", 1_366_792, 0.04),
    ("shufflenet_v2_x1_0", 2_278_604, 0.145),
    ("shufflenet_v2_x1_5", 3_503_624, 0.296),
    ("shufflenet_v2_x2_0", 7_393_996, 0.583),
    ("squeezenet1_0", 1_248_424, 0.819),
    ("squeezenet1_1", 1_235_496, 0.349),
    ("vgg11", 132_863_336, 7.609),
    ("vgg11_bn", 132_868_840, 7.609),
    ("vgg13", 133_047_848, 11.308),
    ("vgg13_bn", 133_053_736, 11.308),
    ("vgg16", 138_357_544, 15.47),
    ("vgg16_bn", 138_365_992, 15.47),
    ("vgg19", 143_667_240, 19.632),
    ("vgg19_bn", 143_678_248, 19.632),
    ("wide_resnet101_2", 126_886_696, 22.753),
    ("wide_resnet50_2", 68_883_240, 11.398),
];

/// What others publish.
const OTHERS: &[Row] = &[
    // torchvision's, with auxiliary classifiers: their products are counted here too.
    ("googlenet", 13_004_888, 1.507),
    ("inception_v3", 27_161_264, 5.719),
    // The papers' tables: MobileNet 569 million products and 4.2 million parameters; of the residual
    // networks for CIFAR-10 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters.
    ("mobilenet_v1", 4_231_976, 0.569),
    ("resnet20", 269_722, 0.041),
    ("resnet32", 464_154, 0.069),
    ("resnet44", 658_586, 0.097),
    ("resnet56", 853_018, 0.125),
    ("resnet110", 1_727_962, 0.253),
    // timm's parameters; products beside [`LITE`].
    ("efficientnet_lite0", 4_652_008, 0.385),
    ("efficientnet_lite1", 5_416_680, 0.6),
    ("efficientnet_lite2", 6_092_072, 0.86),
    ("efficientnet_lite3", 8_197_096, 1.383),
    ("efficientnet_lite4", 13_006_568, 2.553),
    // By hand, for the layers of the paper's figure 3.
    ("zfnet", 62_357_608, 1.168),
];

/// Millions of operations of EfficientNet-Lite on its authors' page, which counts normalization and
/// activations too: 3 to 6 hundredths.
const LITE: [f64; 5] = [407.0, 631.0, 899.0, 1440.0, 2640.0];

/// Networks that another test counts: ccv's own, and those before 2015.
const COUNTED_ELSEWHERE: &[&str] = &[
    "alexnet",
    "alexnet-2014",
    "caffenet",
    "mattnet",
    "mattnet-a",
    "mattnet-b",
    "vgg-a",
    "vgg-b",
    "vgg-c",
    "vgg-d",
    "vgg-e",
    "overfeat-fast",
    "overfeat-accurate",
    "nin",
    "nin-cifar10",
    "googlenet-2014",
    "lenet",
];

#[test]
fn networks_are_as_published() {
    let mut failed = Vec::new();
    for &(name, parameters, gigas) in TORCHVISION.iter().chain(OTHERS) {
        let summary = match by_name(name).map(|spec| spec.summary()) {
            Ok(Ok(summary)) => summary,
            other => {
                failed.push(format!("{name}: {:?}", other.map(|summary| summary.err())));
                continue;
            }
        };
        let macs = summary.macs as f64 / 1e9;
        // Rounded to three digits after the point.
        if summary.parameters != parameters || (macs - gigas).abs() > 0.51e-3 {
            failed.push(format!("{name}: {} {macs:.4}", summary.parameters));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_network_is_counted() {
    let counted: Vec<&str> = (TORCHVISION.iter().chain(OTHERS))
        .map(|(name, ..)| find(name).unwrap().name)
        .chain(COUNTED_ELSEWHERE.iter().copied())
        .collect();
    for model in all() {
        assert!(counted.contains(&model.name), "{}", model.name);
    }
}

#[test]
fn lite_networks_are_as_their_authors_count_them() {
    for (variant, millions) in LITE.iter().enumerate() {
        let summary = by_name(&format!("efficientnet_lite{variant}")).unwrap().summary().unwrap();
        let share = millions * 1e6 / summary.macs as f64;
        assert!((1.03..1.06).contains(&share), "lite{variant}: {share}");
    }
}
