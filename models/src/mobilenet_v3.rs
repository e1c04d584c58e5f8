//! MobileNetV3 (Howard et al., "Searching for MobileNetV3", 2019): the paper's tables 1 and 2, as
//! torchvision has them, with the names of its state dicts.
//!
//! Departures from the paper: none in what is computed. Batch normalization has an epsilon of 0.001 and a
//! momentum of 0.01, as in the authors' program.

use striate_nn::{BatchNormSpec, NetworkSpec, batch_norm, conv2d, squeeze_excite};
use striate_tensor::ops::UnaryKind;

use crate::blocks::{depthwise, normalized, rounded};

/// The function after a convolution.
#[derive(Clone, Copy, PartialEq)]
enum Nl {
    /// ReLU.
    Re,
    /// Hard swish.
    Hs,
}

use Nl::{Hs, Re};

/// A row of the paper's tables: kernel, expanded channels, output channels, squeeze and excitation,
/// nonlinearity, stride.
type Row = (usize, usize, usize, bool, Nl, usize);

/// Channels of the first convolution.
const FIRST: usize = 16;

const LARGE: [Row; 15] = [
    (3, 16, 16, false, Re, 1),
    (3, 64, 24, false, Re, 2),
    (3, 72, 24, false, Re, 1),
    (5, 72, 40, true, Re, 2),
    (5, 120, 40, true, Re, 1),
    (5, 120, 40, true, Re, 1),
    (3, 240, 80, false, Hs, 2),
    (3, 200, 80, false, Hs, 1),
    (3, 184, 80, false, Hs, 1),
    (3, 184, 80, false, Hs, 1),
    (3, 480, 112, true, Hs, 1),
    (3, 672, 112, true, Hs, 1),
    (5, 672, 160, true, Hs, 2),
    (5, 960, 160, true, Hs, 1),
    (5, 960, 160, true, Hs, 1),
];

const SMALL: [Row; 11] = [
    (3, 16, 16, true, Re, 2),
    (3, 72, 24, false, Re, 2),
    (3, 88, 24, false, Re, 1),
    (5, 96, 40, true, Hs, 2),
    (5, 240, 40, true, Hs, 1),
    (5, 240, 40, true, Hs, 1),
    (5, 120, 48, true, Hs, 1),
    (5, 144, 48, true, Hs, 1),
    (5, 288, 96, true, Hs, 2),
    (5, 576, 96, true, Hs, 1),
    (5, 576, 96, true, Hs, 1),
];

/// torchvision's `mobilenet_v3_large`.
pub fn mobilenet_v3_large() -> NetworkSpec {
    network("mobilenet-v3-large", &LARGE, 960, 1280)
}

/// torchvision's `mobilenet_v3_small`.
pub fn mobilenet_v3_small() -> NetworkSpec {
    network("mobilenet-v3-small", &SMALL, 576, 1024)
}

fn norm() -> BatchNormSpec {
    batch_norm().epsilon(0.001).momentum(0.01)
}

/// `last` is the number of channels of the last convolution, `hidden` of the full-connect layer after it.
fn network(name: &str, rows: &[Row], last: usize, hidden: usize) -> NetworkSpec {
    let features = |x: NetworkSpec| {
        let first = conv2d(FIRST, 3).stride(2).padding(1);
        let mut x = x.named("0", |x| normalized(x, first, norm()).hard_swish());
        let mut channels = FIRST;
        for (place, &row) in (1..).zip(rows) {
            x = x.named(&place.to_string(), |x| block(x, channels, row));
            channels = row.2;
        }
        let place = (rows.len() + 1).to_string();
        x.named(&place, |x| normalized(x, conv2d(last, 1), norm()).hard_swish())
    };
    let classifier =
        |x: NetworkSpec| x.full_connect(hidden).hard_swish().dropout(0.2).full_connect(1000);
    NetworkSpec::new([224, 224, 3])
        .with_name(name)
        .with_image([256, 256])
        .named("features", features)
        .named("avgpool", NetworkSpec::global_avg_pool)
        .named("classifier", classifier)
}

/// An inverted residual; its input is added where the shape stays.
fn block(x: NetworkSpec, channels: usize, row: Row) -> NetworkSpec {
    let (kernel, expanded, count, has_squeeze, nl, stride) = row;
    let activated = |x: NetworkSpec, conv| {
        let x = normalized(x, conv, norm());
        if nl == Hs { x.hard_swish() } else { x.relu() }
    };
    let main = |x: NetworkSpec| {
        let mut x = x;
        let mut place = (0..).map(|place: usize| place.to_string());
        let mut next = || place.next().unwrap_or_default();
        if expanded != channels {
            x = x.named(&next(), |x| activated(x, conv2d(expanded, 1)));
        }
        x = x.named(&next(), |x| activated(x, depthwise(expanded, kernel).stride(stride)));
        if has_squeeze {
            let squeezed = rounded((expanded / 4) as f64);
            let squeeze = squeeze_excite(expanded, squeezed).gate(UnaryKind::HardSigmoid);
            x = x.named(&next(), |x| x.squeeze_excite(squeeze));
        }
        x.named(&next(), |x| normalized(x, conv2d(count, 1), norm()))
    };
    if stride == 1 && channels == count {
        return x.residual(|x| x.named("block", main));
    }
    x.named("block", main)
}
