//! The networks against ccv's own parameter tables, as a program that included them (commit
//! c6ce5b12) printed them, and against published counts of parameters.

use std::f32::consts::SQRT_2;

use striate_models::{all, by_name};
use striate_nn::{LayerKind, LayerSpec, NetworkSpec};

/// A layer of ccv's table: kind, input, groups, outputs (0 where the layer keeps them), window and
/// its stride and padding, output partition, initial bias, output rows and cols (`[count, 1]` after
/// a full connect), weights.
type Row = (&'static str, [usize; 3], usize, usize, [usize; 3], usize, f32, [usize; 2], u64);

const ALEX: &[Row] = &[
    ("conv", [225, 225, 3], 1, 96, [11, 4, 1], 2, 0.0, [55, 55], 34848),
    ("lrn", [55, 55, 96], 2, 0, [5, 0, 0], 0, 0.0, [55, 55], 0),
    ("max-pool", [55, 55, 96], 2, 0, [3, 2, 0], 0, 0.0, [27, 27], 0),
    ("conv", [27, 27, 96], 2, 256, [5, 1, 2], 2, 1.0, [27, 27], 307200),
    ("lrn", [27, 27, 256], 2, 0, [5, 0, 0], 0, 0.0, [27, 27], 0),
    ("max-pool", [27, 27, 256], 2, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 256], 1, 384, [3, 1, 1], 2, 0.0, [13, 13], 884736),
    ("conv", [13, 13, 384], 2, 384, [3, 1, 1], 2, 1.0, [13, 13], 663552),
    ("conv", [13, 13, 384], 2, 256, [3, 1, 1], 2, 1.0, [13, 13], 442368),
    ("max-pool", [13, 13, 256], 2, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("full-connect", [6, 6, 256], 1, 4096, [0, 0, 0], 0, 1.0, [4096, 1], 37748736),
    ("full-connect", [4096, 1, 1], 1, 4096, [0, 0, 0], 0, 1.0, [4096, 1], 16777216),
    ("full-connect", [4096, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 4096000),
];

const MATT_A: &[Row] = &[
    ("conv", [225, 225, 3], 1, 96, [7, 2, 1], 2, 0.0, [111, 111], 14112),
    ("lrn", [111, 111, 96], 2, 0, [5, 0, 0], 0, 0.0, [111, 111], 0),
    ("max-pool", [111, 111, 96], 2, 0, [3, 2, 0], 0, 0.0, [55, 55], 0),
    ("conv", [55, 55, 96], 2, 256, [5, 2, 1], 2, 1.0, [27, 27], 307200),
    ("lrn", [27, 27, 256], 2, 0, [5, 0, 0], 0, 0.0, [27, 27], 0),
    ("max-pool", [27, 27, 256], 2, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 256], 1, 384, [3, 1, 1], 2, 0.0, [13, 13], 884736),
    ("conv", [13, 13, 384], 2, 384, [3, 1, 1], 2, 1.0, [13, 13], 663552),
    ("conv", [13, 13, 384], 2, 256, [3, 1, 1], 2, 1.0, [13, 13], 442368),
    ("max-pool", [13, 13, 256], 2, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("full-connect", [6, 6, 256], 1, 4096, [0, 0, 0], 0, 1.0, [4096, 1], 37748736),
    ("full-connect", [4096, 1, 1], 1, 4096, [0, 0, 0], 0, 1.0, [4096, 1], 16777216),
    ("full-connect", [4096, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 4096000),
];

const MATT_B: &[Row] = &[
    ("conv", [225, 225, 3], 1, 128, [7, 2, 1], 2, 0.0, [111, 111], 18816),
    ("lrn", [111, 111, 128], 2, 0, [5, 0, 0], 0, 0.0, [111, 111], 0),
    ("max-pool", [111, 111, 128], 2, 0, [3, 2, 0], 0, 0.0, [55, 55], 0),
    ("conv", [55, 55, 128], 2, 384, [5, 2, 1], 2, 1.0, [27, 27], 614400),
    ("lrn", [27, 27, 384], 2, 0, [5, 0, 0], 0, 0.0, [27, 27], 0),
    ("max-pool", [27, 27, 384], 2, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 384], 1, 512, [3, 1, 1], 2, 0.0, [13, 13], 1769472),
    ("conv", [13, 13, 512], 2, 512, [3, 1, 1], 2, 1.0, [13, 13], 1179648),
    ("conv", [13, 13, 512], 2, 512, [3, 1, 1], 2, 1.0, [13, 13], 1179648),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 2, 1.0, [13, 13], 2359296),
    ("conv", [13, 13, 512], 2, 512, [3, 1, 1], 2, 1.0, [13, 13], 1179648),
    ("max-pool", [13, 13, 512], 2, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("avg-pool", [6, 6, 512], 1, 0, [3, 3, 0], 0, 0.0, [2, 2], 0),
    ("full-connect", [2, 2, 512], 1, 2048, [0, 0, 0], 0, 1.0, [2048, 1], 4194304),
    ("full-connect", [2048, 1, 1], 1, 2048, [0, 0, 0], 0, 1.0, [2048, 1], 4194304),
    ("full-connect", [2048, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 2048000),
];

const MATT_C: &[Row] = &[
    ("conv", [225, 225, 3], 1, 128, [7, 2, 1], 2, 0.0, [111, 111], 18816),
    ("lrn", [111, 111, 128], 2, 0, [5, 0, 0], 0, 0.0, [111, 111], 0),
    ("max-pool", [111, 111, 128], 2, 0, [3, 2, 0], 0, 0.0, [55, 55], 0),
    ("conv", [55, 55, 128], 2, 384, [3, 1, 1], 2, 1.0, [55, 55], 221184),
    ("lrn", [55, 55, 384], 2, 0, [5, 0, 0], 0, 0.0, [55, 55], 0),
    ("max-pool", [55, 55, 384], 2, 0, [3, 2, 0], 0, 0.0, [27, 27], 0),
    ("conv", [27, 27, 384], 1, 512, [3, 1, 1], 2, 0.0, [27, 27], 1769472),
    ("conv", [27, 27, 512], 2, 512, [3, 1, 1], 2, 1.0, [27, 27], 1179648),
    ("conv", [27, 27, 512], 2, 512, [3, 1, 1], 2, 1.0, [27, 27], 1179648),
    ("max-pool", [27, 27, 512], 2, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 2, 1.0, [13, 13], 2359296),
    ("conv", [13, 13, 512], 2, 512, [3, 1, 1], 2, 1.0, [13, 13], 1179648),
    ("max-pool", [13, 13, 512], 2, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("avg-pool", [6, 6, 512], 1, 0, [3, 3, 0], 0, 0.0, [2, 2], 0),
    ("full-connect", [2, 2, 512], 1, 2048, [0, 0, 0], 0, 1.0, [2048, 1], 4194304),
    ("full-connect", [2048, 1, 1], 1, 2048, [0, 0, 0], 0, 1.0, [2048, 1], 4194304),
    ("full-connect", [2048, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 2048000),
];

const VGG_A: &[Row] = &[
    ("conv", [225, 225, 3], 1, 64, [3, 1, 0], 1, 0.0, [223, 223], 1728),
    ("max-pool", [223, 223, 64], 1, 0, [3, 2, 0], 0, 0.0, [111, 111], 0),
    ("conv", [111, 111, 64], 1, 128, [3, 1, 1], 1, 0.0, [111, 111], 73728),
    ("max-pool", [111, 111, 128], 1, 0, [3, 2, 0], 0, 0.0, [55, 55], 0),
    ("conv", [55, 55, 128], 1, 256, [3, 1, 1], 1, 0.0, [55, 55], 294912),
    ("conv", [55, 55, 256], 1, 256, [3, 1, 1], 1, 0.0, [55, 55], 589824),
    ("max-pool", [55, 55, 256], 1, 0, [3, 2, 0], 0, 0.0, [27, 27], 0),
    ("conv", [27, 27, 256], 1, 512, [3, 1, 1], 1, 0.0, [27, 27], 1179648),
    ("conv", [27, 27, 512], 1, 512, [3, 1, 1], 1, 0.0, [27, 27], 2359296),
    ("max-pool", [27, 27, 512], 1, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 1, 0.0, [13, 13], 2359296),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 1, 0.0, [13, 13], 2359296),
    ("max-pool", [13, 13, 512], 1, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("full-connect", [6, 6, 512], 1, 4096, [0, 0, 0], 0, 0.0, [4096, 1], 75497472),
    ("full-connect", [4096, 1, 1], 1, 4096, [0, 0, 0], 0, 0.0, [4096, 1], 16777216),
    ("full-connect", [4096, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 4096000),
];

const VGG_D: &[Row] = &[
    ("conv", [225, 225, 3], 1, 64, [3, 1, 0], 1, 0.0, [223, 223], 1728),
    ("conv", [223, 223, 64], 1, 64, [3, 1, 1], 1, 0.0, [223, 223], 36864),
    ("max-pool", [223, 223, 64], 1, 0, [3, 2, 0], 0, 0.0, [111, 111], 0),
    ("conv", [111, 111, 64], 1, 128, [3, 1, 1], 1, 0.0, [111, 111], 73728),
    ("conv", [111, 111, 128], 1, 128, [3, 1, 1], 1, 0.0, [111, 111], 147456),
    ("max-pool", [111, 111, 128], 1, 0, [3, 2, 0], 0, 0.0, [55, 55], 0),
    ("conv", [55, 55, 128], 1, 256, [3, 1, 1], 1, 0.0, [55, 55], 294912),
    ("conv", [55, 55, 256], 1, 256, [3, 1, 1], 1, 0.0, [55, 55], 589824),
    ("conv", [55, 55, 256], 1, 256, [3, 1, 1], 1, 0.0, [55, 55], 589824),
    ("max-pool", [55, 55, 256], 1, 0, [3, 2, 0], 0, 0.0, [27, 27], 0),
    ("conv", [27, 27, 256], 1, 512, [3, 1, 1], 1, 0.0, [27, 27], 1179648),
    ("conv", [27, 27, 512], 1, 512, [3, 1, 1], 1, 0.0, [27, 27], 2359296),
    ("conv", [27, 27, 512], 1, 512, [3, 1, 1], 1, 0.0, [27, 27], 2359296),
    ("max-pool", [27, 27, 512], 1, 0, [3, 2, 0], 0, 0.0, [13, 13], 0),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 1, 0.0, [13, 13], 2359296),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 1, 0.0, [13, 13], 2359296),
    ("conv", [13, 13, 512], 1, 512, [3, 1, 1], 1, 0.0, [13, 13], 2359296),
    ("max-pool", [13, 13, 512], 1, 0, [3, 2, 0], 0, 0.0, [6, 6], 0),
    ("full-connect", [6, 6, 512], 1, 4096, [0, 0, 0], 0, 0.0, [4096, 1], 75497472),
    ("full-connect", [4096, 1, 1], 1, 4096, [0, 0, 0], 0, 0.0, [4096, 1], 16777216),
    ("full-connect", [4096, 1, 1], 1, 1000, [0, 0, 0], 0, 0.0, [1000, 1], 4096000),
];

const LRN: (f32, f32, f32) = (2.0, 0.0001, 0.75);

fn check(name: &str, rows: &[Row], total: u64) {
    let spec = by_name(name).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((spec.input, spec.image), ([225, 225, 3], [257, 257]));
    let verified = spec.verify(1000).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(verified.ccv_limits(), []);
    assert_eq!(verified.shapes().len(), rows.len());
    for (layer, ((row, shape), node)) in
        rows.iter().zip(verified.shapes()).zip(&spec.nodes).enumerate()
    {
        let &(kind, input, groups, count, window, out_groups, bias, output, weights) = row;
        let place = format!("{name}, layer {layer}");
        assert_eq!(shape.kind.name(), kind, "{place}");
        assert_eq!(shape.weights(), weights, "{place}");
        if kind == "full-connect" {
            // ccv writes a full connect's output as rows, and the next one's input so.
            assert_eq!(shape.output, [1, 1, output[0]], "{place}");
            let [got, expected] = [shape.input, input].map(|dims| dims.iter().product::<usize>());
            assert_eq!(got, expected, "{place}");
            assert_eq!(shape.macs, weights, "{place}");
        } else {
            assert_eq!(shape.input, input, "{place}");
            assert_eq!(shape.output[..2], output, "{place}");
            assert_eq!(shape.macs, weights * (output[0] * output[1]) as u64, "{place}");
        }
        let [size, stride, padding] = window;
        match &node.layer {
            LayerSpec::Conv(conv) => {
                assert_eq!((conv.count, conv.kernel), (count, [size; 2]), "{place}");
                assert_eq!(
                    (conv.stride, conv.padding),
                    ([stride; 2], [[padding; 2]; 2]),
                    "{place}"
                );
                assert_eq!((conv.groups, conv.out_groups), (groups, out_groups), "{place}");
                assert_eq!((conv.init.bias, conv.init.gain), (bias, SQRT_2), "{place}");
                assert!(conv.relu, "{place}");
            }
            LayerSpec::MaxPool(pool) | LayerSpec::AvgPool(pool) => {
                assert_eq!((pool.size, pool.stride), ([size; 2], [stride; 2]), "{place}");
                assert_eq!(pool.padding, [[padding; 2]; 2], "{place}");
                assert_eq!(pool.groups, groups, "{place}");
            }
            LayerSpec::Lrn(lrn) => {
                assert_eq!((lrn.size, lrn.groups), (size, groups), "{place}");
                assert_eq!((lrn.kappa, lrn.alpha, lrn.beta), LRN, "{place}");
            }
            LayerSpec::FullConnect(full) => {
                let last = layer + 1 == rows.len();
                assert_eq!((full.count, full.relu), (count, !last), "{place}");
                assert_eq!((full.init.bias, full.init.gain), (bias, SQRT_2), "{place}");
                assert_eq!(full.dropout, if last { 0.0 } else { 0.5 }, "{place}");
            }
            other => panic!("{place}: {}", other.kind()),
        }
    }
    assert_eq!(verified.summary().weights, total, "{name}");
}

#[test]
fn ccvs_networks_are_ccvs() {
    check("alexnet", ALEX, 60_954_656);
    check("mattnet-a", MATT_A, 60_933_920);
    check("mattnet-b", MATT_B, 18_737_536);
    check("mattnet", MATT_C, 18_344_320);
    check("vgg-a", VGG_A, 105_588_416);
    check("vgg-d", VGG_D, 111_081_152);
}

/// Arithmetic of the convolutions and full connects at batch 1, two for each product, as other
/// frameworks count it for these networks.
#[test]
fn arithmetic_is_as_others_count_it() {
    for (name, gflop) in [("alexnet", 1.449), ("mattnet", 9.039), ("vgg-d", 29.394)] {
        let flops = by_name(name).unwrap().summary().unwrap().flops as f64;
        assert!((flops / 1e9 - gflop).abs() < 5e-4, "{name}: {flops}");
    }
}

/// Weights and biases of networks that `published.rs` does not have: Caffe's reference network differs
/// from AlexNet in order only, LeNet is counted by hand: 20 · 25 + 20, 50 · 20 · 25 + 50,
/// 500 · 800 + 500, 10 · 500 + 10.
#[test]
fn parameters_are_as_published() {
    for (name, parameters) in [
        ("alexnet-2014", 61_100_840),
        ("caffenet", 60_965_224),
        ("googlenet-2014", 13_378_280),
        ("overfeat-fast", 145_920_872),
        ("overfeat-accurate", 144_656_488),
        ("nin", 7_595_176),
        ("nin-cifar10", 966_986),
        ("lenet", 431_080),
    ] {
        assert_eq!(by_name(name).unwrap().summary().unwrap().parameters, parameters, "{name}");
    }
}

/// Outputs on the way, by the tables of the papers: rows (and cols) and channels after these nodes.
#[test]
fn outputs_on_the_way_are_as_in_the_papers() {
    let googlenet: &[(&str, usize, usize)] = &[
        ("maxpool1", 56, 64),
        ("maxpool2", 28, 192),
        ("maxpool3", 14, 480),
        ("maxpool4", 7, 832),
        ("avgpool", 1, 1024),
        ("aux1.pool", 4, 512),
        ("aux2.pool", 4, 528),
    ];
    let residual: &[(&str, usize, usize)] = &[
        ("conv1", 112, 64),
        ("maxpool", 56, 64),
        ("layer1.1.bn2", 56, 64),
        ("layer2.0.downsample.0", 28, 128),
        ("layer3.1.conv1", 14, 256),
        ("layer4.1.bn2", 7, 512),
        ("avgpool", 1, 512),
    ];
    let vgg: &[(&str, usize, usize)] = &[
        ("features.0", 224, 64),
        ("features.7", 56, 128),
        ("features.26", 14, 512),
        ("features.28", 7, 512),
        ("classifier.6", 1, 1000),
    ];
    let network_in_network: &[(&str, usize, usize)] = &[
        ("conv1", 54, 96),
        ("pool1", 27, 96),
        ("pool2", 13, 256),
        ("pool3", 6, 384),
        ("cccp8-1024", 6, 1000),
    ];
    let overfeat: &[(&str, usize, usize)] =
        &[("0", 56, 96), ("1", 28, 96), ("2", 24, 256), ("3", 12, 256), ("7", 6, 1024)];
    let overfeat_accurate: &[(&str, usize, usize)] =
        &[("0", 108, 96), ("1", 36, 96), ("3", 15, 256), ("7", 15, 1024), ("8", 5, 1024)];
    let bottlenecks: &[(&str, usize, usize)] = &[
        ("layer1.0.conv2", 56, 64),
        ("layer1.2.bn3", 56, 256),
        ("layer2.0.conv1", 56, 128),
        ("layer2.0.conv2", 28, 128),
        ("layer4.2.bn3", 7, 2048),
    ];
    let dense: &[(&str, usize, usize)] = &[
        ("features.pool0", 56, 64),
        ("features.denseblock1.denselayer6.conv1", 56, 128),
        ("features.transition1.pool", 28, 128),
        ("features.transition2.pool", 14, 256),
        ("features.transition3.pool", 7, 512),
        ("features.norm5", 7, 1024),
    ];
    let inception: &[(&str, usize, usize)] = &[
        ("Conv2d_2b_3x3.conv", 147, 64),
        ("maxpool2", 35, 192),
        ("Mixed_5d.branch_pool.conv", 35, 64),
        ("Mixed_6e.branch7x7dbl_5.conv", 17, 192),
        ("Mixed_7c.branch3x3_2a.conv", 8, 384),
        ("AuxLogits.conv1.conv", 1, 768),
        ("avgpool", 1, 2048),
    ];
    for (name, rows) in [
        ("resnet50", bottlenecks),
        ("densenet121", dense),
        ("inception-v3", inception),
        ("squeezenet1-0", &[("features.0", 109, 96), ("features.12.squeeze", 13, 64)]),
        ("mobilenet-v1", &[("block1.pointwise.0", 112, 64), ("block13.pointwise.0", 7, 1024)]),
        ("mobilenet-v2", &[("features.1.conv.1", 112, 16), ("features.17.conv.2", 7, 320)]),
        ("mobilenet-v3-large", &[("features.4.block.2.fc1", 1, 24), ("features.16.0", 7, 960)]),
        ("shufflenet-v2-x1-0", &[("stage2.3.branch2.5", 28, 58), ("conv5.0", 7, 1024)]),
        ("mnasnet1-0", &[("layers.8.0.layers.3", 56, 48), ("layers.14", 7, 1280)]),
        ("efficientnet-b0", &[("features.2.0.block.1.0", 56, 96), ("features.8.0", 7, 1280)]),
        ("efficientnet-lite0", &[("blocks.1.0.conv_dw", 56, 96), ("conv_head", 7, 1280)]),
        ("regnet-y-400mf", &[("trunk_output.block4.block4-5.f.c.0", 7, 440)]),
        ("convnext-tiny", &[("features.0.0", 56, 96), ("features.7.2.block.5", 7, 768)]),
        ("resnet20", &[("layer2.0.conv1", 16, 32), ("layer3.2.bn2", 8, 64)]),
        ("zfnet", &[("0", 110, 96), ("1", 55, 96), ("3", 26, 256), ("9", 6, 256)]),
        ("googlenet", googlenet),
        ("googlenet-2014", googlenet),
        ("resnet18", residual),
        ("resnet34", residual),
        ("vgg11-bn", vgg),
        ("nin", network_in_network),
        ("overfeat-fast", overfeat),
        ("overfeat-accurate", overfeat_accurate),
        ("nin-cifar10", &[("pool1", 16, 96), ("pool2", 8, 192), ("cccp6", 8, 10)]),
        ("alexnet-torchvision", &[("features.2", 27, 64), ("features.12", 6, 256)]),
    ] {
        let spec = by_name(name).unwrap();
        let shapes = spec.shapes().unwrap();
        for &(node, extent, channels) in rows {
            let place = spec.node(node).unwrap_or_else(|| panic!("{name} has no {node}"));
            assert_eq!(shapes[place].output, [extent, extent, channels], "{name} {node}");
        }
    }
}

/// Parameters that torchvision's state dicts name.
#[test]
fn parameters_have_torchvisions_names() {
    for (name, parameters) in [
        ("resnet18", ["conv1.weight", "layer2.0.downsample.1.bias", "fc.bias"]),
        ("resnet34", ["layer1.2.bn2.weight", "layer3.5.conv2.weight", "layer4.2.bn1.bias"]),
        (
            "googlenet",
            ["inception4e.branch4.1.conv.weight", "inception3a.branch2.0.bn.bias", "aux2.fc1.bias"],
        ),
        ("vgg19-bn", ["features.49.weight", "features.50.bias", "classifier.6.weight"]),
        ("alexnet-torchvision", ["features.10.weight", "classifier.1.bias", "classifier.4.weight"]),
    ] {
        let shapes = by_name(name).unwrap().shapes().unwrap();
        let known: Vec<&str> =
            shapes.iter().flat_map(|s| &s.parameters).map(|p| p.name.as_str()).collect();
        for parameter in parameters {
            assert!(known.contains(&parameter), "{name} has no {parameter}: {known:?}");
        }
    }
}

/// GoogLeNet's auxiliary classifiers count 0.3 each, are no part of what is scanned, and have as many
/// classes as the network.
#[test]
fn auxiliary_classifiers_are_for_training_alone() {
    for name in ["googlenet", "googlenet-2014"] {
        let spec = by_name(name).unwrap();
        let ends: Vec<_> = spec.auxiliary.iter().map(|a| (a.node.as_str(), a.weight)).collect();
        assert_eq!(ends, [("aux1.fc2", 0.3), ("aux2.fc2", 0.3)]);
        let scan = spec.scan().unwrap();
        assert_eq!((scan.scale, scan.window), (32, [7, 7]));
        assert!(spec.with_classes(20).verify(20).is_ok());
    }
}

#[test]
fn every_network_verifies() {
    for model in all() {
        let spec = model.spec();
        let verified = spec.verify(model.classes).unwrap();
        assert!(spec.verify(model.classes + 1).is_err());
        assert!(!verified.summary().to_string().is_empty());
        // Squeeze and excitation sees the whole image.
        let squeezes = spec.nodes.iter().any(|node| node.kind() == LayerKind::Multiply);
        assert_eq!(spec.scan().is_some(), !squeezes, "{}", model.name);
        assert_eq!(NetworkSpec::from_json(&spec.to_json().unwrap()).unwrap(), spec);
    }
}

/// What ccv could not run, and why: nothing in its own style, the odd steps of torchvision's
/// AlexNet, LeNet's single channel and its counts.
#[test]
fn limits_of_ccv_are_known() {
    let limits = |name| -> Vec<String> {
        by_name(name).unwrap().ccv_limits().unwrap().iter().map(ToString::to_string).collect()
    };
    for name in ["vgg-b", "vgg-c", "vgg-e"] {
        assert_eq!(limits(name), [""; 0], "{name}");
    }
    assert!(limits("alexnet-2014")[0].starts_with("layer 0: ccv's windows end exactly"));
    let lenet = limits("lenet");
    assert!(lenet[0].contains("3 input channels, this one 1"), "{lenet:?}");
    assert!(lenet[1].contains("layer 2") && lenet[1].contains("50 a group"), "{lenet:?}");
    assert_eq!(lenet.len(), 2);
}

/// What ccv's classification runs over the whole picture, and what it cuts from the outcome.
#[test]
fn scans_end_at_the_last_convolution() {
    for (name, layer, window) in
        [("alexnet", 8, 13), ("mattnet", 11, 13), ("vgg-a", 11, 13), ("vgg-d", 16, 13)]
    {
        let spec = by_name(name).unwrap();
        let scan = spec.scan().unwrap();
        assert_eq!((scan.layer, scan.scale, scan.window), (layer, 16, [window; 2]), "{name}");
        // 32 pixels more are two steps of 16 more.
        let whole = spec.shapes_for([257, 321, 3]).unwrap();
        assert_eq!(whole[layer].output[..2], [window + 2, window + 6], "{name}");
        assert_ne!(whole.last().unwrap().kind, LayerKind::FullConnect);
    }
}
