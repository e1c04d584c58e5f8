//! Which parts of a picture a class hangs on: occlusion.

use striate_data::augment::{TestMean, TestView, ViewFormer};
use striate_data::{FloatImage, Image, Protocol};

use super::Classifier;
use crate::{Error, Result};

/// Occluded views that run through the network together. More would only hold more memory.
const VIEWS_AT_ONCE: usize = 16;

/// How a picture is occluded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Occlusion {
    /// The class that is watched, from 0; `None` for the likeliest one.
    pub class: Option<usize>,
    /// The side of the square, in pixels of the network's input; `None` for a seventh of its
    /// shorter side.
    pub size: Option<usize>,
    /// Pixels from one square to the next, at most `size`, so that every pixel is covered; `None`
    /// for a quarter of `size`.
    pub stride: Option<usize>,
}

/// What occlusion does to the probability of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct OcclusionMap {
    /// The class that was watched, from 0.
    pub class: usize,
    /// Its name, where the model has names.
    pub label: Option<String>,
    /// Its probability for the whole view.
    pub confidence: f32,
    /// The lowest of its probabilities for an occluded view.
    pub lowest: f32,
    /// The row and col of the first pixel of the square that gave it.
    pub lowest_at: [usize; 2],
    /// The side of the square.
    pub size: usize,
    /// Pixels from one square to the next.
    pub stride: usize,
    /// How many occluded views there were.
    pub views: usize,
    /// How far the probability drops, averaged over all squares that cover a pixel; `[rows, cols,
    /// 1]` of the network's input. Negative where it rises.
    pub drop: FloatImage,
    /// The view as a picture, without the mean subtracted; `[rows, cols, channels]`.
    pub view: Image,
}

impl Classifier {
    /// Slides a grey square over the centre view of a picture, and looks how the probability of a
    /// class changes: where it drops, there is what the class hangs on (Zeiler and Fergus, 2014,
    /// Visualizing and Understanding Convolutional Networks, §4.2).
    ///
    /// Grey is the mean of the network, the input that tells it nothing; for a network without a
    /// mean image it is the mean colour of the view. The view is the one that training tested the
    /// network with, where it records that, else that of [`Protocol::Centre`], whatever the
    /// classifier's protocol. After each batch `progress` is told how many of how many
    /// views are done.
    ///
    /// # Errors
    /// [`Error::Visualize`] for a class, size or stride that there cannot be; [`Error::Image`] where
    /// the picture cannot be cut; [`Error::Network`] where the device fails;
    /// [`Error::NoConfidences`] where the network's numbers overflow.
    pub fn occlusion(
        &self,
        image: &Image,
        options: &Occlusion,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<OcclusionMap> {
        let [rows, cols] = self.geometry.net;
        let (size, stride) = self.check(options)?;
        let view = self.centre_view(image, self.mean.as_ref())?;
        let confidences = self.probabilities(std::slice::from_ref(&view))?;
        let ranks = self.rank(confidences)?;
        let watched = match options.class {
            Some(class) => ranks.top(self.classes).into_iter().find(|ranked| ranked.id == class),
            None => ranks.top(1).pop(),
        };
        let Some(watched) = watched else {
            return Err(refuse(format!("a class below {}", self.classes), "none".into()));
        };

        let grey = match self.mean {
            Some(_) => vec![0.0; view.channels()],
            None => mean_color(&view),
        };
        let starts = |side: usize| starts(side, size, stride);
        let squares: Vec<[usize; 2]> = starts(rows)
            .into_iter()
            .flat_map(|row| starts(cols).into_iter().map(move |col| [row, col]))
            .collect();
        let mut occluded = Vec::with_capacity(squares.len());
        for some in squares.chunks(VIEWS_AT_ONCE) {
            let views: Vec<FloatImage> =
                some.iter().map(|&at| covered(&view, at, size, &grey)).collect();
            let probabilities = self.probabilities(&views)?;
            probabilities.chunks(self.classes).try_for_each(|p| self.check_confidences(p))?;
            occluded.extend(probabilities.chunks(self.classes).filter_map(|p| p.get(watched.id)));
            progress(occluded.len(), squares.len());
        }

        let mut sums = Sums::new(rows, cols);
        let (mut lowest, mut lowest_at) = (f32::INFINITY, [0; 2]);
        for (&at, &confidence) in squares.iter().zip(&occluded) {
            sums.add(at, size, f64::from(watched.confidence) - f64::from(confidence));
            if confidence < lowest {
                (lowest, lowest_at) = (confidence, at);
            }
        }
        Ok(OcclusionMap {
            class: watched.id,
            label: watched.label,
            confidence: watched.confidence,
            lowest,
            lowest_at,
            size,
            stride,
            views: squares.len(),
            drop: FloatImage::new(rows, cols, 1, sums.means())?,
            view: self.centre_view(image, None)?.to_bytes(),
        })
    }

    /// The size and the stride, if they and the class make sense.
    fn check(&self, options: &Occlusion) -> Result<(usize, usize)> {
        let [rows, cols] = self.geometry.net;
        let side = rows.min(cols);
        if let Some(class) = options.class.filter(|&class| class >= self.classes) {
            let expected = format!("a class of 0 to {}", self.classes.saturating_sub(1));
            return Err(refuse(expected, class.to_string()));
        }
        let size = options.size.unwrap_or((side / 7).max(1));
        if size == 0 || size > side {
            let expected = format!("a square of 1 to {side} pixels a side");
            return Err(refuse(expected, size.to_string()));
        }
        let stride = options.stride.unwrap_or((size / 4).max(1));
        if stride == 0 || stride > size {
            let expected = format!("a stride of 1 to {size} pixels, the side of the square");
            return Err(refuse(expected, stride.to_string()));
        }
        Ok((size, stride))
    }

    /// The centre view, minus the mean where one is given.
    fn centre_view(&self, image: &Image, mean: Option<&FloatImage>) -> Result<FloatImage> {
        if let Some(tested) = &self.tested {
            return Ok(match mean {
                Some(_) => tested.form(image)?,
                None => {
                    let view = TestView { mean: TestMean::None, ..*tested.view() };
                    ViewFormer::new(view, &self.geometry, None)?.form(image)?
                }
            });
        }
        let prepared = Protocol::Centre.prepare(image, &self.geometry, mean)?;
        let view = prepared.pictures().first().cloned();
        view.ok_or_else(|| refuse("one centre view".into(), "none".into()))
    }

    /// The probabilities of all classes for views, `[views, classes]`.
    fn probabilities(&self, views: &[FloatImage]) -> Result<Vec<f32>> {
        let logits = self.engine.logits_of_views(views)?;
        Ok(self.engine.probabilities(logits)?.to_vec::<f32>()?)
    }
}

fn refuse(expected: String, got: String) -> Error {
    Error::Visualize { what: "an occlusion map", expected, got }
}

/// The first pixels of squares along a side: a stride apart, and one more that ends at the edge
/// where the last would not.
fn starts(side: usize, size: usize, stride: usize) -> Vec<usize> {
    let last = side.saturating_sub(size);
    let mut starts: Vec<usize> = (0..=last).step_by(stride.max(1)).collect();
    if starts.last() != Some(&last) {
        starts.push(last);
    }
    starts
}

/// The mean of each channel, summed in f64 in the order of the pixels.
fn mean_color(view: &FloatImage) -> Vec<f32> {
    let channels = view.channels();
    let pixels = (view.rows() * view.cols()) as f64;
    let channel = |c: usize| view.values().iter().skip(c).step_by(channels);
    let mean = |c: usize| channel(c).map(|&v| f64::from(v)).sum::<f64>() / pixels;
    (0..channels).map(|c| mean(c) as f32).collect()
}

/// The view with a square of this colour over it.
fn covered(view: &FloatImage, at: [usize; 2], size: usize, color: &[f32]) -> FloatImage {
    let mut covered = view.clone();
    let (cols, channels) = (view.cols(), view.channels());
    let lines = covered.values_mut().chunks_mut(cols * channels);
    for line in lines.skip(at[0]).take(size) {
        for pixel in line.chunks_mut(channels).skip(at[1]).take(size) {
            pixel.copy_from_slice(color);
        }
    }
    covered
}

/// Sums and counts by pixel.
struct Sums {
    cols: usize,
    pixels: Vec<(f64, u32)>,
}

impl Sums {
    fn new(rows: usize, cols: usize) -> Self {
        Sums { cols, pixels: vec![(0.0, 0); rows * cols] }
    }

    /// Adds a number to each pixel of a square.
    fn add(&mut self, at: [usize; 2], size: usize, number: f64) {
        for line in self.pixels.chunks_mut(self.cols).skip(at[0]).take(size) {
            for (sum, count) in line.iter_mut().skip(at[1]).take(size) {
                *sum += number;
                *count += 1;
            }
        }
    }

    fn means(&self) -> Vec<f32> {
        self.pixels.iter().map(|&(sum, count)| (sum / f64::from(count.max(1))) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use striate_nn::{LayerParameters, Network, NetworkSpec, conv2d};
    use striate_tensor::{Device, Tensor};

    use super::*;
    use crate::DeviceByName;

    /// A network of two classes: a 1 x 1 convolution that copies, and full-connect weights that look
    /// at the pixel (2, 3) of 8 x 8 only: the brighter it is, the likelier is class 1.
    fn one_pixel() -> Classifier {
        let device = Device::cpu(Some(1)).unwrap();
        let tensor = |values: Vec<f32>, shape: &[usize]| {
            Tensor::from_vec(values, shape.to_vec(), &device).unwrap()
        };
        let mut weights = vec![0.0; 2 * 64];
        weights[64 + 2 * 8 + 3] = 0.02;
        let layers = vec![
            Some(LayerParameters {
                weight: tensor(vec![1.0], &[1, 1, 1, 1]),
                bias: tensor(vec![0.0], &[1]),
            }),
            Some(LayerParameters {
                weight: tensor(weights, &[2, 64]),
                bias: tensor(vec![0.0, -1.0], &[2]),
            }),
        ];
        let spec = NetworkSpec::new([8, 8, 1]).conv(conv2d(1, 1).relu()).full_connect(2);
        Classifier::new(Network::new(spec, layers, &device).unwrap()).unwrap()
    }

    fn photo() -> Image {
        let mut image = Image::filled(8, 8, 1, 0).unwrap();
        image.values_mut()[2 * 8 + 3] = 250;
        image
    }

    #[test]
    fn the_drop_is_where_the_network_looks() {
        let options = Occlusion { size: Some(2), stride: Some(1), ..Occlusion::default() };
        let mut told = Vec::new();
        let map =
            one_pixel().occlusion(&photo(), &options, |done, all| told.push((done, all))).unwrap();
        assert_eq!((map.class, map.views, map.drop.shape()), (1, 49, [8, 8, 1]));
        assert_eq!(told, [(16, 49), (32, 49), (48, 49), (49, 49)]);
        // Logits 0 and 0.02 · 250 - 1 = 4; covered by the mean colour, 250 / 64, it is 0.078 - 1.
        let sigmoid = |x: f32| 1.0 / (1.0 + (-x).exp());
        let (whole, covered) = (sigmoid(4.0), sigmoid(0.02 * 250.0 / 64.0 - 1.0));
        assert!((map.confidence - whole).abs() < 1e-5, "{}", map.confidence);
        assert!((map.lowest - covered).abs() < 1e-5, "{}", map.lowest);
        assert_eq!(map.lowest_at, [1, 2]);
        let drop = |row: usize, col: usize| map.drop.values()[row * 8 + col];
        // All four squares over the pixel hide it, two of four over its neighbour, none further off.
        assert!((drop(2, 3) - (whole - covered)).abs() < 1e-5);
        assert!((drop(2, 2) - (whole - covered) / 2.0).abs() < 1e-5);
        assert!(drop(5, 3).abs() < 1e-5 && drop(2, 6).abs() < 1e-5);
        assert_eq!(map.view, photo());
    }

    #[test]
    fn any_class_can_be_watched() {
        let options = Occlusion { class: Some(0), ..Occlusion::default() };
        let map = one_pixel().occlusion(&photo(), &options, |_, _| ()).unwrap();
        assert_eq!((map.class, map.size, map.stride, map.views), (0, 1, 1, 64));
        assert!(map.drop.values()[2 * 8 + 3] < -0.5);
    }

    #[test]
    fn what_there_cannot_be_is_refused() {
        let classifier = one_pixel();
        let with = |class, size, stride| Occlusion { class, size, stride };
        for (options, expected) in [
            (with(Some(2), None, None), "a class of 0 to 1, got 2"),
            (with(None, Some(9), None), "a square of 1 to 8 pixels a side, got 9"),
            (with(None, Some(0), None), "got 0"),
            (with(None, Some(3), Some(4)), "a stride of 1 to 3 pixels"),
            (with(None, Some(3), Some(0)), "got 0"),
        ] {
            let error = classifier.occlusion(&photo(), &options, |_, _| ()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn squares_reach_the_edge() {
        assert_eq!(starts(10, 4, 4), [0, 4, 6]);
        assert_eq!(starts(8, 4, 4), [0, 4]);
        assert_eq!(starts(4, 4, 1), [0]);
    }
}
