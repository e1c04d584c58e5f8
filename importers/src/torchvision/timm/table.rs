//! timm's networks as data: which network of the catalogue each is, and how its makers prepared pictures.

use super::super::layout::Names;
use crate::preset::{Filter, HALVES, IMAGENET, Pixels};

/// How a network of timm's computes, where it differs from the catalogue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// As the catalogue's.
    AsIs,
    /// timm's own: batch normalization with PyTorch's constants, convolutions padded evenly.
    Own,
    /// As TensorFlow's: an epsilon of 0.001, convolutions padded by one pixel less at the top and left
    /// where the extent is even.
    TensorFlow,
}

/// A network of timm's.
#[derive(Debug)]
pub(super) struct Row {
    /// timm's name.
    pub(super) architecture: &'static str,
    /// The name in the catalogue, or of a variant that [`spec_of`](super::spec_of) knows.
    pub(super) model: &'static str,
    /// Who named the tensors.
    pub(super) names: Names,
    pub(super) way: Way,
    /// Rows and cols that the network sees.
    pub(super) side: usize,
    /// That side divided by the whole picture's.
    pub(super) crop: f64,
    pub(super) filter: Filter,
    pub(super) pixels: Pixels,
    /// Whether the whole picture is stretched.
    pub(super) stretch: bool,
}

macro_rules! rows {
    ($($architecture:literal = $model:literal $names:ident $way:ident,
       $side:literal / $crop:literal, $filter:ident, $pixels:ident $(, $stretched:ident)?;)*) => {
        &[$(Row {
            architecture: $architecture,
            model: $model,
            names: Names::$names,
            way: Way::$way,
            side: $side,
            crop: $crop,
            filter: Filter::$filter,
            pixels: $pixels,
            stretch: !stringify!($($stretched)?).is_empty(),
        },)*]
    };
}

/// All of them. Where several have tensors of the same names and shapes, the first is meant if nothing says
/// otherwise. What is said of pictures is what timm 1.0 says of a network without saying which of its
/// weights are meant.
pub(super) const ROWS: &[Row] = rows! {
    "resnet18" = "resnet18" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnet34" = "resnet34" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnet50" = "resnet50" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnet101" = "resnet101" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnet152" = "resnet152" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnext50_32x4d" = "resnext50_32x4d" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "resnext101_32x8d" = "resnext101_32x8d" Torchvision AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "resnext101_64x4d" = "resnext101_64x4d" Torchvision AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "wide_resnet50_2" = "wide_resnet50_2" Torchvision AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "wide_resnet101_2" = "wide_resnet101_2" Torchvision AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "densenet121" = "densenet121" Torchvision AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "densenet161" = "densenet161" Torchvision AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "densenet169" = "densenet169" Torchvision AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "densenet201" = "densenet201" Torchvision AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "vgg11" = "vgg11" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg13" = "vgg13" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg16" = "vgg16" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg19" = "vgg19" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg11_bn" = "vgg11_bn" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg13_bn" = "vgg13_bn" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg16_bn" = "vgg16_bn" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "vgg19_bn" = "vgg19_bn" Timm AsIs, 224 / 0.875, Bilinear, IMAGENET;
    "mobilenetv2_100" = "mobilenet_v2" Timm AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "mobilenetv3_large_100" = "mobilenet_v3_large" Timm Own, 224 / 0.875, Bicubic, IMAGENET;
    "tf_mobilenetv3_large_100" = "mobilenet_v3_large" Timm TensorFlow, 224 / 0.875, Bilinear, HALVES;
    "mobilenetv3_small_100" = "mobilenet_v3_small" Timm Own, 224 / 0.875, Bicubic, IMAGENET;
    "tf_mobilenetv3_small_100" = "mobilenet_v3_small" Timm TensorFlow, 224 / 0.875, Bilinear, HALVES;
    "tf_efficientnet_lite0" = "efficientnet_lite0" Timm TensorFlow, 224 / 0.875, Bicubic, HALVES;
    "efficientnet_lite0" = "efficientnet_lite0" Timm Own, 224 / 0.875, Bicubic, IMAGENET;
    "tf_efficientnet_lite1" = "efficientnet_lite1" Timm TensorFlow, 240 / 0.882, Bicubic, HALVES;
    "efficientnet_lite1" = "efficientnet_lite1" Timm Own, 240 / 0.882, Bicubic, IMAGENET;
    "tf_efficientnet_lite2" = "efficientnet_lite2" Timm TensorFlow, 260 / 0.89, Bicubic, HALVES;
    "efficientnet_lite2" = "efficientnet_lite2" Timm Own, 260 / 0.89, Bicubic, IMAGENET;
    "tf_efficientnet_lite3" = "efficientnet_lite3" Timm TensorFlow, 300 / 0.904, Bilinear, HALVES;
    "efficientnet_lite3" = "efficientnet_lite3" Timm Own, 300 / 0.904, Bicubic, IMAGENET;
    "tf_efficientnet_lite4" = "efficientnet_lite4" Timm TensorFlow, 380 / 0.92, Bilinear, HALVES;
    "efficientnet_lite4" = "efficientnet_lite4" Timm Own, 380 / 0.922, Bicubic, IMAGENET;
    "efficientnet_b0" = "efficientnet_b0" Timm Own, 224 / 0.875, Bicubic, IMAGENET;
    "tf_efficientnet_b0" = "efficientnet_b0" Timm TensorFlow, 224 / 0.875, Bicubic, IMAGENET;
    "efficientnet_b1" = "efficientnet_b1" Timm Own, 240 / 0.9, Bicubic, HALVES;
    "tf_efficientnet_b1" = "efficientnet_b1" Timm TensorFlow, 240 / 0.882, Bicubic, IMAGENET;
    "efficientnet_b2" = "efficientnet_b2" Timm Own, 256 / 0.875, Bicubic, IMAGENET;
    "tf_efficientnet_b2" = "efficientnet_b2" Timm TensorFlow, 260 / 0.89, Bicubic, IMAGENET;
    "efficientnet_b3" = "efficientnet_b3" Timm Own, 288 / 0.875, Bicubic, IMAGENET;
    "tf_efficientnet_b3" = "efficientnet_b3" Timm TensorFlow, 300 / 0.904, Bicubic, IMAGENET;
    "efficientnet_b4" = "efficientnet_b4" Timm Own, 320 / 0.875, Bicubic, IMAGENET;
    "tf_efficientnet_b4" = "efficientnet_b4" Timm TensorFlow, 380 / 0.922, Bicubic, IMAGENET;
    "efficientnet_b5" = "efficientnet_b5" Timm Own, 448 / 1.0, Bicubic, IMAGENET, stretched;
    "tf_efficientnet_b5" = "efficientnet_b5" Timm TensorFlow, 456 / 0.934, Bicubic, IMAGENET;
    "efficientnet_b6" = "efficientnet_b6" Timm Own, 528 / 0.942, Bicubic, IMAGENET;
    "tf_efficientnet_b6" = "efficientnet_b6" Timm TensorFlow, 528 / 0.942, Bicubic, IMAGENET;
    "efficientnet_b7" = "efficientnet_b7" Timm Own, 600 / 0.949, Bicubic, IMAGENET;
    "tf_efficientnet_b7" = "efficientnet_b7" Timm TensorFlow, 600 / 0.949, Bicubic, IMAGENET;
    "convnext_tiny" = "convnext_tiny" Timm AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "convnext_small" = "convnext_small" Timm AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "convnext_base" = "convnext_base" Timm AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "convnext_large" = "convnext_large" Timm AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "regnetx_004_tv" = "regnet_x_400mf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_004" = "regnet_x_400mf_paper" Timm AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "regnetx_008" = "regnet_x_800mf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_016" = "regnet_x_1_6gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_032" = "regnet_x_3_2gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_080" = "regnet_x_8gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_160" = "regnet_x_16gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnetx_320" = "regnet_x_32gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_004" = "regnet_y_400mf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_008_tv" = "regnet_y_800mf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_008" = "regnet_y_800mf_paper" Timm AsIs, 224 / 0.875, Bicubic, IMAGENET;
    "regnety_016" = "regnet_y_1_6gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_032" = "regnet_y_3_2gf" Timm AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "regnety_080_tv" = "regnet_y_8gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_080" = "regnet_y_8gf_paper" Timm AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "regnety_160" = "regnet_y_16gf" Timm AsIs, 224 / 0.95, Bicubic, IMAGENET;
    "regnety_320" = "regnet_y_32gf" Timm AsIs, 224 / 0.965, Bicubic, IMAGENET;
    "regnety_1280" = "regnet_y_128gf" Timm AsIs, 384 / 1.0, Bicubic, IMAGENET;
};
