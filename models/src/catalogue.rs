//! All networks by name.

use striate_nn::NetworkSpec;

use crate::{Error, Result, alexnet, googlenet, lenet, mattnet, nin, overfeat, resnet, vgg};

/// A network that this crate knows.
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
    "lenet", 10, lenet::lenet,
        "LeNet-5 as Caffe draws it, for handwritten digits of 28x28 pixels";
};

/// All networks, family by family.
pub fn names() -> &'static [Model] {
    MODELS
}

/// The network of this name, whatever the case.
///
/// # Errors
/// [`Error::UnknownModel`] with the names that there are.
///
/// ```
/// assert_eq!(striate_models::by_name("lenet")?.input, [28, 28, 1]);
/// let error = striate_models::by_name("vgg_d").unwrap_err();
/// assert!(error.to_string().contains("did you mean `vgg-d`?"));
/// # Ok::<(), striate_models::Error>(())
/// ```
pub fn by_name(name: &str) -> Result<NetworkSpec> {
    if let Some(model) = MODELS.iter().find(|model| model.name.eq_ignore_ascii_case(name)) {
        return Ok(model.spec());
    }
    let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
    Err(Error::UnknownModel {
        name: name.to_owned(),
        suggestion: nearest(name, &known),
        known: known.join(", "),
    })
}

/// A guess needs more than this many letters for each slip, or it would be wild: `resnet` is two
/// slips from `lenet`.
const LETTERS_PER_SLIP: usize = 3;

/// Names longer than this are not compared: nothing here is nearly as long.
const MAX_COMPARED_CHARS: usize = 32;

fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if name.chars().take(MAX_COMPARED_CHARS + 1).count() > MAX_COMPARED_CHARS {
        return None;
    }
    let name = name.to_ascii_lowercase();
    let by_slips = known.iter().map(|&candidate| (slips(&name, candidate), candidate));
    let (slips, candidate) = by_slips.min_by_key(|&(slips, _)| slips)?;
    (slips * LETTERS_PER_SLIP < name.chars().count()).then_some(candidate)
}

/// How many letters to insert, remove or replace to get from one word to the other (Levenshtein
/// 1966).
fn slips(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    // `row[j]`: slips from the letters of `from` so far to the first `j` of `to`.
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_slips() {
        for (from, to, expected) in
            [("", "", 0), ("", "ab", 2), ("kitten", "sitting", 3), ("vgg_d", "vgg-d", 1)]
        {
            assert_eq!(slips(from, to), expected, "{from} {to}");
        }
    }

    #[test]
    fn unknown_names_list_the_known_ones() {
        let message = by_name("transformer").unwrap_err().to_string();
        assert_eq!(
            message,
            "no network is called `transformer`; there are alexnet, alexnet-2014, \
             alexnet-torchvision, caffenet, mattnet, mattnet-a, mattnet-b, vgg-a, vgg-b, vgg-c, \
             vgg-d, vgg-e, vgg11, vgg13, vgg16, vgg19, vgg11-bn, vgg13-bn, vgg16-bn, vgg19-bn, \
             overfeat-fast, overfeat-accurate, nin, nin-cifar10, googlenet, googlenet-no-aux, \
             googlenet-2014, resnet18, resnet34, lenet"
        );
        assert!(by_name("LeNett").unwrap_err().to_string().contains("did you mean `lenet`?"));
        assert!(by_name(&"x".repeat(1 << 20)).is_err());
        assert!(by_name("").is_err());
    }

    #[test]
    fn names_are_unique_and_specs_bear_them() {
        for (i, model) in names().iter().enumerate() {
            assert_eq!(model.spec().name, model.name);
            assert!(names()[..i].iter().all(|other| other.name != model.name));
            assert_eq!(by_name(&model.name.to_uppercase()).unwrap(), model.spec());
        }
    }
}
