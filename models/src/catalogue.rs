//! All networks by name.

use striate_nn::NetworkSpec;

use crate::{
    Error, Result, alexnet, cifar_resnet, convnext, densenet, efficientnet, efficientnet_lite,
    googlenet, inception, lenet, mattnet, mnasnet, mobilenet_v1, mobilenet_v2, mobilenet_v3,
    near::near, nin, overfeat, regnet, resnet, shufflenet_v2, squeezenet, vgg, zfnet,
};

/// A network that this crate knows.
///
/// ```
/// for model in striate_models::all().iter().filter(|model| model.name.starts_with("resnet")) {
///     println!("{}: {}", model.name, model.description);
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// The name that finds it.
    pub name: &'static str,
    /// What it is, in a line.
    pub description: &'static str,
    /// Classes that it tells apart.
    pub classes: usize,
    build: fn() -> NetworkSpec,
}

impl Model {
    /// The network.
    pub fn spec(&self) -> NetworkSpec {
        (self.build)()
    }
}

macro_rules! models {
    ($($name:literal, $classes:literal, $build:path, $description:literal;)*) => {
        &[$(Model { name: $name, description: $description, classes: $classes, build: $build },)*]
    };
}

const MODELS: &[Model] = models! {
    "alexnet", 1000, alexnet::alexnet,
        "AlexNet of 2012 in two towers, as ccv trained it";
    "alexnet-2014", 1000, alexnet::alexnet_2014,
        "AlexNet of 2014 in one tower, without normalization";
    "alexnet-torchvision", 1000, alexnet::alexnet_torchvision,
        "AlexNet of 2014 as torchvision trains it: its `alexnet`";
    "caffenet", 1000, alexnet::caffenet,
        "AlexNet as Caffe trained it: normalization after pooling";
    "mattnet", 1000, mattnet::mattnet_c,
        "Zeiler and Fergus 2013, ccv's variant c: the one that its model file holds";
    "mattnet-a", 1000, mattnet::mattnet_a,
        "Zeiler and Fergus 2013, ccv's variant a: AlexNet with a finer first layer";
    "mattnet-b", 1000, mattnet::mattnet_b,
        "Zeiler and Fergus 2013, ccv's variant b: deeper, average pooling at the end";
    "zfnet", 1000, zfnet::zfnet,
        "Zeiler and Fergus 2013, the paper's own network";
    "vgg-a", 1000, vgg::vgg_a,
        "Simonyan and Zisserman 2014 in ccv's style, 11 layers with weights";
    "vgg-b", 1000, vgg::vgg_b,
        "Simonyan and Zisserman 2014 in ccv's style, 13 layers with weights";
    "vgg-c", 1000, vgg::vgg_c,
        "Simonyan and Zisserman 2014 in ccv's style, 16 layers, three of them 1x1";
    "vgg-d", 1000, vgg::vgg_d,
        "Simonyan and Zisserman 2014 in ccv's style, 16 layers with weights";
    "vgg-e", 1000, vgg::vgg_e,
        "Simonyan and Zisserman 2014 in ccv's style, 19 layers with weights";
    "vgg11", 1000, vgg::vgg11,
        "VGG of 11 layers at 224 pixels: torchvision's `vgg11`";
    "vgg13", 1000, vgg::vgg13,
        "VGG of 13 layers at 224 pixels: torchvision's `vgg13`";
    "vgg16", 1000, vgg::vgg16,
        "VGG of 16 layers at 224 pixels: torchvision's `vgg16`";
    "vgg19", 1000, vgg::vgg19,
        "VGG of 19 layers at 224 pixels: torchvision's `vgg19`";
    "vgg11-bn", 1000, vgg::vgg11_bn,
        "VGG of 11 layers with batch normalization: torchvision's `vgg11_bn`";
    "vgg13-bn", 1000, vgg::vgg13_bn,
        "VGG of 13 layers with batch normalization: torchvision's `vgg13_bn`";
    "vgg16-bn", 1000, vgg::vgg16_bn,
        "VGG of 16 layers with batch normalization: torchvision's `vgg16_bn`";
    "vgg19-bn", 1000, vgg::vgg19_bn,
        "VGG of 19 layers with batch normalization: torchvision's `vgg19_bn`";
    "overfeat-fast", 1000, overfeat::overfeat_fast,
        "Sermanet et al. 2013, the fast model of table 1";
    "overfeat-accurate", 1000, overfeat::overfeat_accurate,
        "Sermanet et al. 2013, the accurate model of table 3";
    "nin", 1000, nin::nin,
        "Network in Network of 2013, the ImageNet one of Caffe's zoo";
    "nin-cifar10", 10, nin::nin_cifar10,
        "Network in Network of 2013, the CIFAR-10 one of Caffe's zoo";
    "googlenet", 1000, googlenet::googlenet,
        "GoogLeNet with batch normalization and auxiliary classifiers: torchvision's `googlenet`";
    "googlenet-no-aux", 1000, googlenet::googlenet_without_auxiliary,
        "torchvision's `googlenet` without auxiliary classifiers";
    "googlenet-2014", 1000, googlenet::googlenet_2014,
        "GoogLeNet as in the paper: local response normalization, 5x5 kernels";
    "resnet18", 1000, resnet::resnet18,
        "Residual network of 18 layers: torchvision's `resnet18`";
    "resnet34", 1000, resnet::resnet34,
        "Residual network of 34 layers: torchvision's `resnet34`";
    "resnet50", 1000, resnet::resnet50,
        "Residual network of 50 layers: torchvision's `resnet50`";
    "resnet101", 1000, resnet::resnet101,
        "Residual network of 101 layers: torchvision's `resnet101`";
    "resnet152", 1000, resnet::resnet152,
        "Residual network of 152 layers: torchvision's `resnet152`";
    "resnext50-32x4d", 1000, resnet::resnext50_32x4d,
        "ResNeXt of 50 layers, 32 groups of 4: torchvision's `resnext50_32x4d`";
    "resnext101-32x8d", 1000, resnet::resnext101_32x8d,
        "ResNeXt of 101 layers, 32 groups of 8: torchvision's `resnext101_32x8d`";
    "resnext101-64x4d", 1000, resnet::resnext101_64x4d,
        "ResNeXt of 101 layers, 64 groups of 4: torchvision's `resnext101_64x4d`";
    "wide-resnet50-2", 1000, resnet::wide_resnet50_2,
        "Residual network of 50 layers, twice as wide: torchvision's `wide_resnet50_2`";
    "wide-resnet101-2", 1000, resnet::wide_resnet101_2,
        "Residual network of 101 layers, twice as wide: torchvision's `wide_resnet101_2`";
    "resnet20", 10, cifar_resnet::resnet20,
        "Residual network of 20 layers for CIFAR-10's 32x32 pixels";
    "resnet32", 10, cifar_resnet::resnet32,
        "Residual network of 32 layers for CIFAR-10's 32x32 pixels";
    "resnet44", 10, cifar_resnet::resnet44,
        "Residual network of 44 layers for CIFAR-10's 32x32 pixels";
    "resnet56", 10, cifar_resnet::resnet56,
        "Residual network of 56 layers for CIFAR-10's 32x32 pixels";
    "resnet110", 10, cifar_resnet::resnet110,
        "Residual network of 110 layers for CIFAR-10's 32x32 pixels";
    "squeezenet1-0", 1000, squeezenet::squeezenet1_0,
        "SqueezeNet 1.0, the paper's: torchvision's `squeezenet1_0`";
    "squeezenet1-1", 1000, squeezenet::squeezenet1_1,
        "SqueezeNet 1.1, of fewer products: torchvision's `squeezenet1_1`";
    "densenet121", 1000, densenet::densenet121,
        "DenseNet of 121 layers: torchvision's `densenet121`";
    "densenet161", 1000, densenet::densenet161,
        "DenseNet of 161 layers: torchvision's `densenet161`";
    "densenet169", 1000, densenet::densenet169,
        "DenseNet of 169 layers: torchvision's `densenet169`";
    "densenet201", 1000, densenet::densenet201,
        "DenseNet of 201 layers: torchvision's `densenet201`";
    "inception-v3", 1000, inception::inception_v3,
        "Inception v3 with its auxiliary classifier: torchvision's `inception_v3`";
    "inception-v3-no-aux", 1000, inception::inception_v3_without_auxiliary,
        "torchvision's `inception_v3` without auxiliary classifier";
    "mobilenet-v1", 1000, mobilenet_v1::mobilenet_v1,
        "MobileNet, the paper's";
    "mobilenet-v2", 1000, mobilenet_v2::mobilenet_v2,
        "MobileNetV2: torchvision's `mobilenet_v2`";
    "mobilenet-v3-large", 1000, mobilenet_v3::mobilenet_v3_large,
        "MobileNetV3, large: torchvision's `mobilenet_v3_large`";
    "mobilenet-v3-small", 1000, mobilenet_v3::mobilenet_v3_small,
        "MobileNetV3, small: torchvision's `mobilenet_v3_small`";
    "shufflenet-v2-x0-5", 1000, shufflenet_v2::shufflenet_v2_x0_5,
        "ShuffleNet V2 0.5x: torchvision's `shufflenet_v2_x0_5`";
    "shufflenet-v2-x1-0", 1000, shufflenet_v2::shufflenet_v2_x1_0,
        "ShuffleNet V2 1x: torchvision's `shufflenet_v2_x1_0`";
    "shufflenet-v2-x1-5", 1000, shufflenet_v2::shufflenet_v2_x1_5,
        "ShuffleNet V2 1.5x: torchvision's `shufflenet_v2_x1_5`";
    "shufflenet-v2-x2-0", 1000, shufflenet_v2::shufflenet_v2_x2_0,
        "ShuffleNet V2 2x: torchvision's `shufflenet_v2_x2_0`";
    "mnasnet0-5", 1000, mnasnet::mnasnet0_5,
        "MNASNet B1 of half the width: torchvision's `mnasnet0_5`";
    "mnasnet0-75", 1000, mnasnet::mnasnet0_75,
        "MNASNet B1 of three quarters of the width: torchvision's `mnasnet0_75`";
    "mnasnet1-0", 1000, mnasnet::mnasnet1_0,
        "MNASNet B1 of full width: torchvision's `mnasnet1_0`";
    "mnasnet1-3", 1000, mnasnet::mnasnet1_3,
        "MNASNet B1 of 1.3 times the width: torchvision's `mnasnet1_3`";
    "efficientnet-b0", 1000, efficientnet::efficientnet_b0,
        "EfficientNet B0: torchvision's `efficientnet_b0`";
    "efficientnet-b1", 1000, efficientnet::efficientnet_b1,
        "EfficientNet B1: torchvision's `efficientnet_b1`";
    "efficientnet-b2", 1000, efficientnet::efficientnet_b2,
        "EfficientNet B2: torchvision's `efficientnet_b2`";
    "efficientnet-b3", 1000, efficientnet::efficientnet_b3,
        "EfficientNet B3: torchvision's `efficientnet_b3`";
    "efficientnet-b4", 1000, efficientnet::efficientnet_b4,
        "EfficientNet B4: torchvision's `efficientnet_b4`";
    "efficientnet-b5", 1000, efficientnet::efficientnet_b5,
        "EfficientNet B5: torchvision's `efficientnet_b5`";
    "efficientnet-b6", 1000, efficientnet::efficientnet_b6,
        "EfficientNet B6: torchvision's `efficientnet_b6`";
    "efficientnet-b7", 1000, efficientnet::efficientnet_b7,
        "EfficientNet B7: torchvision's `efficientnet_b7`";
    "efficientnet-v2-s", 1000, efficientnet::efficientnet_v2_s,
        "EfficientNetV2 S: torchvision's `efficientnet_v2_s`";
    "efficientnet-v2-m", 1000, efficientnet::efficientnet_v2_m,
        "EfficientNetV2 M: torchvision's `efficientnet_v2_m`";
    "efficientnet-v2-l", 1000, efficientnet::efficientnet_v2_l,
        "EfficientNetV2 L: torchvision's `efficientnet_v2_l`";
    "efficientnet-lite0", 1000, efficientnet_lite::efficientnet_lite0,
        "EfficientNet-Lite0: timm's `tf_efficientnet_lite0`";
    "efficientnet-lite1", 1000, efficientnet_lite::efficientnet_lite1,
        "EfficientNet-Lite1: timm's `tf_efficientnet_lite1`";
    "efficientnet-lite2", 1000, efficientnet_lite::efficientnet_lite2,
        "EfficientNet-Lite2: timm's `tf_efficientnet_lite2`";
    "efficientnet-lite3", 1000, efficientnet_lite::efficientnet_lite3,
        "EfficientNet-Lite3: timm's `tf_efficientnet_lite3`";
    "efficientnet-lite4", 1000, efficientnet_lite::efficientnet_lite4,
        "EfficientNet-Lite4: timm's `tf_efficientnet_lite4`";
    "regnet-x-400mf", 1000, regnet::regnet_x_400mf,
        "RegNet X of 400 million products: torchvision's `regnet_x_400mf`";
    "regnet-x-800mf", 1000, regnet::regnet_x_800mf,
        "RegNet X of 800 million products: torchvision's `regnet_x_800mf`";
    "regnet-x-1-6gf", 1000, regnet::regnet_x_1_6gf,
        "RegNet X of 1.6 billion products: torchvision's `regnet_x_1_6gf`";
    "regnet-x-3-2gf", 1000, regnet::regnet_x_3_2gf,
        "RegNet X of 3.2 billion products: torchvision's `regnet_x_3_2gf`";
    "regnet-x-8gf", 1000, regnet::regnet_x_8gf,
        "RegNet X of 8 billion products: torchvision's `regnet_x_8gf`";
    "regnet-x-16gf", 1000, regnet::regnet_x_16gf,
        "RegNet X of 16 billion products: torchvision's `regnet_x_16gf`";
    "regnet-x-32gf", 1000, regnet::regnet_x_32gf,
        "RegNet X of 32 billion products: torchvision's `regnet_x_32gf`";
    "regnet-y-400mf", 1000, regnet::regnet_y_400mf,
        "RegNet Y of 400 million products: torchvision's `regnet_y_400mf`";
    "regnet-y-800mf", 1000, regnet::regnet_y_800mf,
        "RegNet Y of 800 million products: torchvision's `regnet_y_800mf`";
    "regnet-y-1-6gf", 1000, regnet::regnet_y_1_6gf,
        "RegNet Y of 1.6 billion products: torchvision's `regnet_y_1_6gf`";
    "regnet-y-3-2gf", 1000, regnet::regnet_y_3_2gf,
        "RegNet Y of 3.2 billion products: torchvision's `regnet_y_3_2gf`";
    "regnet-y-8gf", 1000, regnet::regnet_y_8gf,
        "RegNet Y of 8 billion products: torchvision's `regnet_y_8gf`";
    "regnet-y-16gf", 1000, regnet::regnet_y_16gf,
        "RegNet Y of 16 billion products: torchvision's `regnet_y_16gf`";
    "regnet-y-32gf", 1000, regnet::regnet_y_32gf,
        "RegNet Y of 32 billion products: torchvision's `regnet_y_32gf`";
    "regnet-y-128gf", 1000, regnet::regnet_y_128gf,
        "RegNet Y of 128 billion products: torchvision's `regnet_y_128gf`";
    "convnext-tiny", 1000, convnext::convnext_tiny,
        "ConvNeXt T: torchvision's `convnext_tiny`";
    "convnext-small", 1000, convnext::convnext_small,
        "ConvNeXt S: torchvision's `convnext_small`";
    "convnext-base", 1000, convnext::convnext_base,
        "ConvNeXt B: torchvision's `convnext_base`";
    "convnext-large", 1000, convnext::convnext_large,
        "ConvNeXt L: torchvision's `convnext_large`";
    "lenet", 10, lenet::lenet,
        "LeNet-5 as Caffe draws it, for handwritten digits of 28x28 pixels";
};

/// All networks, family by family.
pub fn all() -> &'static [Model] {
    MODELS
}

/// The network of this name, whatever the case, with dashes or underscores.
///
/// # Errors
/// [`Error::UnknownModel`] with the names that may be meant; [`all`] has those that there are.
///
/// ```
/// assert_eq!(striate_models::by_name("lenet")?.input, [28, 28, 1]);
/// assert_eq!(striate_models::by_name("mobilenet_v2")?.name, "mobilenet-v2");
/// let error = striate_models::by_name("vgg-dd").unwrap_err();
/// assert!(error.to_string().contains("did you mean vgg-d?"));
/// # Ok::<(), striate_models::Error>(())
/// ```
pub fn by_name(name: &str) -> Result<NetworkSpec> {
    match find(name) {
        Some(model) => Ok(model.spec()),
        None => Err(Error::UnknownModel { name: name.to_owned(), near: near(name) }),
    }
}

/// The network of this name, whatever the case, with dashes or underscores; without building it.
pub fn find(name: &str) -> Option<&'static Model> {
    let plain = |letter: u8| if letter == b'_' { b'-' } else { letter.to_ascii_lowercase() };
    MODELS.iter().find(|model| model.name.bytes().eq(name.bytes().map(plain)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_are_told_with_those_like_them() {
        let message = |name: &str| by_name(name).unwrap_err().to_string();
        assert_eq!(message("transformer"), "no network is called `transformer`");
        assert_eq!(message("LeNett"), "no network is called `LeNett`; did you mean lenet?");
        assert_eq!(
            message("resnet"),
            "no network is called `resnet`; did you mean one of resnet18, resnet34, resnet50, resnet20?"
        );
        assert!(by_name(&"x".repeat(1 << 20)).is_err());
        assert!(by_name("").is_err());
    }

    #[test]
    fn names_are_unique_and_specs_bear_them() {
        for (i, model) in all().iter().enumerate() {
            assert_eq!(model.spec().name, model.name);
            assert!(all()[..i].iter().all(|other| other.name != model.name));
            assert_eq!(model.name, model.name.to_lowercase().replace('_', "-"));
            let underscored = model.name.to_uppercase().replace('-', "_");
            assert_eq!(by_name(&underscored).unwrap().name, model.name);
        }
    }
}
