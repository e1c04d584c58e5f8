use super::*;
use crate::{FloatImage, form_input, resize_mean};
use proptest::prelude::*;

const CCV: Geometry = Geometry { image: [257, 257], net: [225, 225], channels: 3, scan_scale: 16 };
const DIGITS: Geometry = Geometry { image: [28, 28], net: [28, 28], channels: 1, scan_scale: 4 };

/// A picture whose every pixel is different enough to tell where a crop came from.
fn picture(rows: usize, cols: usize) -> Image {
    let values = (0..rows * cols * 3).map(|i| (i * 7 % 251) as u8).collect();
    Image::new(rows, cols, 3, values).unwrap()
}

fn mean(geometry: &Geometry) -> FloatImage {
    let [rows, cols] = geometry.image;
    let values = (0..rows * cols * geometry.channels).map(|i| 100.0 + (i % 13) as f32).collect();
    FloatImage::new(rows, cols, geometry.channels, values).unwrap()
}

fn crops(prepared: Prepared) -> Vec<FloatImage> {
    match prepared {
        Prepared::Crops(crops) => crops,
        Prepared::Scans(_) => panic!("not crops"),
    }
}

fn scans(prepared: Prepared) -> Vec<FloatImage> {
    match prepared {
        Prepared::Scans(scans) => scans,
        Prepared::Crops(_) => panic!("not scans"),
    }
}

#[test]
fn names_go_both_ways() {
    for protocol in Protocol::all() {
        assert_eq!(protocol.to_string().parse::<Protocol>().unwrap(), protocol);
        assert!(protocol.description().contains(&format!("{} view", protocol.views())));
    }
    let error = "alexnet".parse::<Protocol>().unwrap_err().to_string();
    assert!(error.contains("`alexnet`") && error.contains("ccv-cpu, ccv-gpu, alex"), "{error}");
    assert_eq!(format!("{:>8}", Protocol::Alex), "    alex");
}

#[test]
fn ccv_cpu_is_a_centred_slice_and_its_mirror() {
    let image = picture(640, 480);
    let mean = mean(&CCV);
    let slices = scans(Protocol::CcvCpu.prepare(&image, &CCV, Some(&mean)).unwrap());
    // 343 x 257 formed: 225 + floor(118 / 16) * 16 = 337 rows, 257 columns.
    let formed = form_input(&image, 257, 257).unwrap();
    assert_eq!(formed.shape(), [343, 257, 3]);
    let stretched = resize_mean(&mean, 337, 257).unwrap();
    let want = formed.crop(3, 0, 337, 257).unwrap().subtract(&stretched).unwrap();
    assert_eq!(slices, [want.clone(), want.flip_horizontal()]);
}

#[test]
fn ccv_gpu_is_three_crops_and_their_mirrors() {
    let image = picture(640, 480);
    let mean = mean(&CCV);
    let slices = scans(Protocol::CcvGpu.prepare(&image, &CCV, Some(&mean)).unwrap());
    let formed = form_input(&image, 257, 257).unwrap();
    assert_eq!(slices.len(), 6);
    for (index, top) in [0, 43, 86].into_iter().enumerate() {
        let want = formed.crop(top, 0, 257, 257).unwrap().subtract(&mean).unwrap();
        assert_eq!(slices[index], want);
        assert_eq!(slices[index + 3], want.flip_horizontal());
    }
}

#[test]
fn alex_cuts_the_central_square() {
    let image = picture(640, 480);
    let mean = mean(&CCV);
    let views = crops(Protocol::Alex.prepare(&image, &CCV, Some(&mean)).unwrap());
    let whole = form_input(&image, 256, 256).unwrap();
    assert_eq!(whole.shape(), [341, 256, 3]);
    let stretched = resize_mean(&mean, 256, 256).unwrap();
    let whole = whole.crop(42, 0, 256, 256).unwrap().subtract(&stretched).unwrap();
    assert_eq!(views.len(), 10);
    for (index, [top, left]) in [[0, 0], [0, 31], [15, 15], [31, 0], [31, 31]].iter().enumerate() {
        let want = whole.crop(*top, *left, 225, 225).unwrap();
        assert_eq!(views[index], want);
        assert_eq!(views[index + 5], want.flip_horizontal());
    }
}

#[test]
fn caffe_keeps_nothing_of_the_aspect() {
    // Left half 0, right half 200: still halves, however wide the picture was.
    let values = (0..40 * 1000).map(|i| if i % 1000 < 500 { 0 } else { 200 }).collect();
    let image = Image::new(40, 1000, 1, values).unwrap();
    let views = crops(Protocol::Caffe.prepare(&image, &CCV, None).unwrap());
    assert_eq!(views.len(), 10);
    let centre = &views[2];
    // Column 15 of the square is the view's first.
    let value = |col: usize| centre.values()[(112 * 225 + col) * 3];
    assert!(value(128 - 15 - 2).abs() < 0.5 && (value(128 - 15 + 2) - 200.0).abs() < 0.5);
}

#[test]
fn the_square_is_256_for_ccv_and_the_whole_image_else() {
    for (image, net, square) in [(257, 225, 256), (256, 227, 256), (28, 28, 28), (257, 257, 257)] {
        let geometry = Geometry { image: [image; 2], net: [net; 2], channels: 3, scan_scale: 16 };
        let views = crops(Protocol::Caffe.prepare(&picture(300, 300), &geometry, None).unwrap());
        let whole = crate::formation::stretch(&picture(300, 300), square, square).unwrap();
        let last = whole.crop(square - net, square - net, net, net).unwrap();
        assert_eq!(views[4], last);
    }
}

#[test]
fn digits_work_with_every_protocol() {
    let mean = mean(&DIGITS);
    for protocol in Protocol::all() {
        for image in [picture(28, 28), picture(5, 3), picture(100, 31)] {
            let prepared = protocol.prepare(&image, &DIGITS, Some(&mean)).unwrap();
            assert_eq!(prepared.views(), protocol.views());
            let at_least = |picture: &FloatImage| picture.rows() >= 28 && picture.cols() >= 28;
            assert!(prepared.pictures().iter().all(at_least));
        }
    }
    let exact = crops(Protocol::Centre.prepare(&picture(28, 28), &DIGITS, None).unwrap());
    assert_eq!(exact, [picture(28, 28).to_grey().unwrap().to_float()]);
}

#[test]
fn windows_are_in_ccvs_order() {
    let windows = five_windows([20, 13], [13, 13]).unwrap();
    assert_eq!(windows, [[0, 0], [0, 0], [3, 0], [7, 0], [7, 0]]);
    let windows = five_windows([15, 20], [13, 13]).unwrap();
    assert_eq!(windows, [[0, 0], [0, 7], [1, 3], [2, 0], [2, 7]]);
    let error = five_windows([12, 20], [13, 13]).unwrap_err();
    assert!(matches!(error, Error::Window { output: [12, 20], window: [13, 13] }), "{error}");
}

#[test]
fn what_a_protocol_makes_of_a_strip_is_limited() {
    let shapes = [(1, 500), (500, 1), (1, 100), (30_000, 257)];
    for (rows, cols) in shapes {
        let image = Image::filled(rows, cols, 3, 9).unwrap();
        for protocol in Protocol::all() {
            let prepared = protocol.prepare(&image, &CCV, None);
            if protocol == Protocol::Caffe {
                assert!(prepared.is_ok());
                continue;
            }
            if protocol == Protocol::Tested && cols == CCV.image[1] {
                // Nothing is resized, and only the centre is cut out.
                assert!(prepared.is_ok());
                continue;
            }
            let error = prepared.map(|prepared| prepared.views()).unwrap_err();
            assert!(matches!(error, Error::Elongated { .. }), "{protocol}: {error}");
            assert!(error.to_string().contains("crop it"), "{error}");
            // Nothing is recommended that refuses this picture as well.
            assert!(!error.to_string().contains("ccv-gpu, alex"), "{error}");
        }
    }
    // Running the convolutions over the whole picture is limited more tightly than forming it.
    let long = Image::filled(20, 600, 3, 9).unwrap();
    let error = Protocol::CcvCpu.prepare(&long, &CCV, None).map(|p| p.views()).unwrap_err();
    assert!(error.to_string().contains("choose a protocol"), "{error}");
    for protocol in [Protocol::CcvGpu, Protocol::Alex, Protocol::Centre] {
        assert!(protocol.prepare(&long, &CCV, None).is_ok());
    }
    // Panoramas work with all of them.
    for (rows, cols) in [(50, 400), (400, 50), (25, 375)] {
        let panorama = Image::filled(rows, cols, 3, 9).unwrap();
        for protocol in Protocol::all() {
            assert!(protocol.prepare(&panorama, &CCV, None).is_ok(), "{protocol}");
        }
    }
}

#[test]
fn contradictions_are_refused() {
    let image = picture(30, 30);
    let prepare = |geometry: Geometry| Protocol::Centre.prepare(&image, &geometry, None);
    for bad in [
        Geometry { net: [0, 28], ..DIGITS },
        Geometry { net: [29, 28], ..DIGITS },
        Geometry { channels: 2, ..DIGITS },
        Geometry { scan_scale: 0, ..DIGITS },
    ] {
        assert!(matches!(prepare(bad), Err(Error::Geometry { .. })), "{bad:?}");
    }
    let wrong = FloatImage::filled(27, 28, 1, 0.0).unwrap();
    let error = Protocol::CcvCpu.prepare(&image, &DIGITS, Some(&wrong)).unwrap_err();
    assert!(matches!(error, Error::Shape { got: [27, 28, 1], .. }), "{error}");
}

proptest! {
    /// Every slice is an input that the scan layers take: the network's plus whole scan strides.
    #[test]
    fn any_geometry_gives_valid_pictures(
        rows in 1usize..90, cols in 1usize..90, net in prop::array::uniform2(1usize..30),
        more in prop::array::uniform2(0usize..20), scan_scale in 1usize..9, grey in any::<bool>(),
    ) {
        let geometry = Geometry {
            image: [net[0] + more[0], net[1] + more[1]],
            net,
            channels: if grey { 1 } else { 3 },
            scan_scale,
        };
        let mean = mean(&geometry);
        for protocol in Protocol::all() {
            let prepared = match protocol.prepare(&picture(rows, cols), &geometry, Some(&mean)) {
                Err(Error::Elongated { target_rows, target_cols, limit, .. }) => {
                    prop_assert!(target_rows * target_cols > limit && limit >= 16);
                    continue;
                }
                prepared => prepared.unwrap(),
            };
            prop_assert_eq!(prepared.views(), protocol.views());
            for picture in prepared.pictures() {
                prop_assert_eq!(picture.channels(), geometry.channels);
                let sides = [picture.rows(), picture.cols()];
                for (side, net) in sides.into_iter().zip(net) {
                    match prepared {
                        Prepared::Crops(_) => prop_assert_eq!(side, net),
                        Prepared::Scans(_) => prop_assert_eq!((side - net) % scan_scale, 0),
                    }
                }
            }
        }
    }
}
