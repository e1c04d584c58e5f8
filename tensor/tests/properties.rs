//! Laws that hold for all shapes: of `Shape` itself, and of the ops that move numbers.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use striate_tensor::{Device, Element, Reference, Shape, Tensor};

fn dims() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..5usize, 0..=5)
}

/// A shape's elements, numbered.
fn counted(dims: &[usize]) -> Tensor {
    let shape = Shape::new(dims).unwrap();
    let values = (0..shape.count() as u32).collect();
    Tensor::from_vec(values, shape, &Device::new(Reference::new())).unwrap()
}

fn values<T: Element>(x: &Tensor) -> (Vec<usize>, Vec<T>) {
    (x.dims().to_vec(), x.to_vec().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_failure_persistence(
        FileFailurePersistence::WithSource("regressions")
    ))]

    #[test]
    fn strides_are_products_of_what_follows(dims in dims()) {
        let shape = Shape::new(&dims).unwrap();
        prop_assert_eq!(shape.rank(), dims.len());
        prop_assert_eq!(shape.count(), dims.iter().product::<usize>());
        for axis in 0..dims.len() {
            let [outer, extent, inner] = shape.around(axis, "test").unwrap();
            prop_assert_eq!(outer * extent * inner, shape.count());
            prop_assert_eq!(shape.strides()[axis], inner);
            prop_assert_eq!(shape.with_axis(axis, 7, "test").unwrap().dims()[axis], 7);
        }
        prop_assert!(shape.axis(dims.len(), "test").is_err());
    }

    #[test]
    fn broadcasting_is_commutative_and_takes_itself(a in dims(), b in dims()) {
        let (a, b) = (Shape::new(&a).unwrap(), Shape::new(&b).unwrap());
        let (ab, ba) = (a.broadcast(&b, "test"), b.broadcast(&a, "test"));
        prop_assert_eq!(ab.is_ok(), ba.is_ok());
        if let Ok(both) = ab {
            prop_assert_eq!(both, ba.unwrap());
            prop_assert_eq!(both.broadcast(&a, "test").unwrap(), both);
        }
        prop_assert_eq!(a.broadcast(&a, "test").unwrap(), a);
        prop_assert_eq!(a.broadcast(&Shape::scalar(), "test").unwrap(), a);
    }

    #[test]
    fn permuting_back_gives_the_same(
        (dims, order) in dims().prop_flat_map(|dims| {
            let order: Vec<usize> = (0..dims.len()).collect();
            (Just(dims), Just(order).prop_shuffle())
        }),
    ) {
        let x = counted(&dims);
        let mut back = vec![0; order.len()];
        for (to, &from) in order.iter().enumerate() {
            back[from] = to;
        }
        let there = x.permute(&order).unwrap();
        prop_assert_eq!(values::<u32>(&there.permute(&back).unwrap()), values(&x));
    }

    #[test]
    fn slicing_off_what_was_padded_gives_the_same(
        dims in dims(),
        widths in prop::collection::vec(prop::array::uniform2(0..4usize), 5),
    ) {
        let x = counted(&dims);
        let widths = &widths[..dims.len()];
        let ranges: Vec<_> =
            dims.iter().zip(widths).map(|(&extent, w)| w[0]..w[0] + extent).collect();
        let padded = x.pad(widths, 3.).unwrap();
        prop_assert_eq!(values::<u32>(&padded.slice(&ranges).unwrap()), values(&x));
    }

    #[test]
    fn joining_what_was_cut_gives_the_same(mut dims in dims(), axis in 0..5usize, cut in 0..5usize) {
        dims.push(3);
        let axis = axis % dims.len();
        let cut = cut.min(dims[axis]);
        let x = counted(&dims);
        let parts =
            [x.narrow(axis, 0..cut).unwrap(), x.narrow(axis, cut..dims[axis]).unwrap()];
        let joined = Tensor::concatenate(&[&parts[0], &parts[1]], axis).unwrap();
        prop_assert_eq!(values::<u32>(&joined), values(&x));
    }

    #[test]
    fn flipping_twice_gives_the_same_and_gathering_backwards_flips(
        mut dims in dims(),
        axis in 0..5usize,
    ) {
        dims.push(4);
        let axis = axis % dims.len();
        let x = counted(&dims);
        let flipped = x.flip([axis]).unwrap();
        prop_assert_eq!(values::<u32>(&flipped.flip([axis]).unwrap()), values(&x));
        let backwards: Vec<u32> = (0..dims[axis] as u32).rev().collect();
        let backwards = Tensor::from_vec(backwards, [dims[axis]], x.device()).unwrap();
        prop_assert_eq!(values::<u32>(&x.gather(&backwards, axis).unwrap()), values(&flipped));
    }
}
