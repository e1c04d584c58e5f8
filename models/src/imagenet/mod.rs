//! The 1000 classes of the ImageNet challenge of 2012.
//!
//! One table, in two orders: that of the challenge's development kit, in which ccv's networks count,
//! and that of WordNet ids, in which Caffe's and torchvision's do.

use std::sync::OnceLock;

/// The table: devkit number, WordNet id and words, a class a line, in devkit order. The facts are
/// from the sample files of ccv (Liu Liu, Creative Commons Attribution 4.0).
const TABLE: &str = include_str!("../../assets/imagenet-2012.tsv");

/// A class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Class {
    /// Its number in the development kit, from 1: one more than ccv's class id.
    pub devkit: u16,
    /// Its WordNet id: `n02119789`.
    pub wnid: &'static str,
    /// All its names: `kit fox, Vulpes macrotis`.
    pub words: &'static str,
}

impl Class {
    /// Its first name: `kit fox`. Not unique: there are two cranes.
    pub fn label(&self) -> &'static str {
        self.words.split(',').next().unwrap_or(self.words).trim()
    }
}

/// An order of the classes: which class an output of a network stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// By number in the development kit: ccv's networks.
    Devkit,
    /// By WordNet id: torchvision's and Caffe's networks.
    Sorted,
}

/// The classes by their number in the development kit, ccv's order.
pub fn classes() -> &'static [Class] {
    static CLASSES: OnceLock<Vec<Class>> = OnceLock::new();
    CLASSES.get_or_init(|| TABLE.lines().filter_map(parse).collect())
}

/// The classes by their WordNet ids, the order of torchvision and Caffe.
pub fn sorted() -> &'static [Class] {
    static SORTED: OnceLock<Vec<Class>> = OnceLock::new();
    SORTED.get_or_init(|| {
        let mut sorted = classes().to_vec();
        sorted.sort_unstable_by_key(|class| class.wnid);
        sorted
    })
}

/// The classes in an order.
pub fn in_order(order: Order) -> &'static [Class] {
    match order {
        Order::Devkit => classes(),
        Order::Sorted => sorted(),
    }
}

/// The first names of all classes in an order: the labels of a network's outputs.
pub fn labels(order: Order) -> Vec<String> {
    in_order(order).iter().map(|class| class.label().to_owned()).collect()
}

/// All names of all classes in an order.
pub fn words(order: Order) -> Vec<String> {
    in_order(order).iter().map(|class| class.words.to_owned()).collect()
}

/// The class of this WordNet id.
///
/// ```
/// let class = striate_models::imagenet::by_wnid("n02119789").map(|class| class.label());
/// assert_eq!(class, Some("kit fox"));
/// ```
pub fn by_wnid(wnid: &str) -> Option<&'static Class> {
    let sorted = sorted();
    let at = sorted.binary_search_by(|class| class.wnid.cmp(wnid)).ok()?;
    sorted.get(at)
}

/// A line of the table. The table is part of the program and the test below reads all of it, so a
/// line that does not parse never reaches a user.
fn parse(line: &'static str) -> Option<Class> {
    let mut fields = line.splitn(3, '\t');
    let devkit = fields.next()?.parse().ok()?;
    Some(Class { devkit, wnid: fields.next()?, words: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(classes().len(), TABLE.lines().count());
        assert_eq!(classes().len(), 1000);
        for (i, class) in classes().iter().enumerate() {
            assert_eq!(usize::from(class.devkit), i + 1);
            let digits = class.wnid.strip_prefix('n').unwrap();
            assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit()), "{class:?}");
            assert!(!class.label().is_empty() && !class.words.contains('\t'), "{class:?}");
        }
    }

    #[test]
    fn sorted_is_a_strict_order_of_the_same_classes() {
        assert!(sorted().windows(2).all(|pair| pair[0].wnid < pair[1].wnid));
        assert_eq!(sorted().len(), 1000);
    }

    /// Facts that anyone who has run these networks knows: torchvision's classes 0, 281 and 999,
    /// ccv's first line.
    #[test]
    fn orders_are_those_of_the_networks() {
        assert_eq!(classes()[0].words, "kit fox, Vulpes macrotis");
        let sorted = labels(Order::Sorted);
        assert_eq!(
            [&*sorted[0], &*sorted[281], &*sorted[999]],
            ["tench", "tabby", "toilet tissue"]
        );
        assert_eq!(words(Order::Devkit)[999], classes()[999].words);
    }

    #[test]
    fn finds_by_wordnet_id() {
        for class in classes() {
            assert_eq!(by_wnid(class.wnid), Some(class));
        }
        assert_eq!(by_wnid("n00000000"), None);
        assert_eq!(by_wnid(""), None);
    }
}
