//! What is computed once over a training set: the mean image, and the principal components of its
//! colours.

use rayon::prelude::*;

use crate::augment::{Augmenter, MeanPatch, Recipe};
use crate::decode::Limits;
use crate::{Dataset, Error, FloatImage, Geometry, Result, Skipped};

/// Pictures whose sums one task adds up. The sums of the tasks are added in order, so that the
/// result is the same bits for any number of threads.
const PICTURES_PER_TASK: usize = 32;

/// Tasks whose sums are held at the same time.
const TASKS_AT_ONCE: usize = 16;

/// The most rotations by Jacobi's method; a 3 x 3 matrix needs about five sweeps of three.
const MOST_SWEEPS: usize = 50;

/// The mean image and the colours of a training set.
#[derive(Debug)]
pub struct Statistics {
    /// The mean of all whole pictures, `[rows, cols, channels]` of the recipe's size, 0..255; 127.5
    /// where the recipe inverts every other one.
    pub mean: FloatImage,
    /// The colours' principal components; none of grey pictures.
    pub colors: Option<ColorComponents>,
    /// Pictures that it is the mean of.
    pub pictures: usize,
    /// Pictures that could not be read.
    pub skipped: Vec<Skipped>,
}

/// Eigenvalues and eigenvectors of the covariance of red, green and blue over all pixels (0..255)
/// of all pictures, about the mean colour (Krizhevsky et al. 2012).
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ColorComponents {
    /// The eigenvalues, the largest first.
    pub values: [f32; 3],
    /// The eigenvector of each, of length 1; its largest part is positive.
    pub vectors: [[f32; 3]; 3],
}

/// Sums over some pictures.
struct Sums {
    /// Of each value of the whole picture.
    whole: Vec<f64>,
    /// Of the products of the colours, row by row.
    products: [[f64; 3]; 3],
    pictures: usize,
    skipped: Vec<Skipped>,
}

impl Statistics {
    /// Computes them in one pass over all pictures, in parallel on the current rayon pool; the same
    /// bits for any number of threads. `progress` is called from those threads with the number of
    /// pictures that were done since its last call.
    ///
    /// ```
    /// use striate_data::{Dataset, Geometry, Image, Statistics, augment::Recipe};
    ///
    /// let pictures = vec![Image::filled(4, 4, 3, 10)?, Image::filled(4, 4, 3, 30)?];
    /// let dataset = Dataset::from_images(pictures, vec![0, 1])?;
    /// let geometry = Geometry { image: [4, 4], net: [2, 2], channels: 3, scan_scale: 1 };
    /// let recipe = Recipe::by_name("ccv")?;
    /// let found = Statistics::compute(&dataset, &recipe, &geometry, &Default::default(), &|_| {})?;
    /// assert!(found.mean.values().iter().all(|&v| v == 20.0));
    /// // Brightness is all that varies: variance 100 of each colour, all alike.
    /// assert!((found.colors.unwrap().values[0] - 300.0).abs() < 1e-3);
    /// # Ok::<(), striate_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Geometry`] and [`Error::Setting`] as [`Augmenter::new`]; [`Error::Dataset`] when not
    /// a single picture could be read. Pictures that cannot be read are skipped otherwise.
    pub fn compute(
        dataset: &Dataset,
        recipe: &Recipe,
        geometry: &Geometry,
        limits: &Limits,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<Self> {
        // What needs these statistics plays no part in forming the whole picture.
        let recipe = Recipe { color_gain: 0.0, mean: MeanPatch::None, ..recipe.clone() };
        let former = Augmenter::new(&recipe, geometry, None, None)?;
        let [rows, cols] = recipe.whole(geometry);
        let mut total = Sums::new(rows * cols * geometry.channels);
        let tasks: Vec<usize> = (0..dataset.len()).step_by(PICTURES_PER_TASK).collect();
        for wave in tasks.chunks(TASKS_AT_ONCE) {
            let sums: Vec<Sums> = wave
                .par_iter()
                .map(|&first| {
                    let end = dataset.len().min(first + PICTURES_PER_TASK);
                    let mut sums = Sums::new(total.whole.len());
                    for index in first..end {
                        let whole = dataset.load(index, limits).and_then(|p| former.whole(&p));
                        match whole {
                            Ok(whole) => sums.add(&whole),
                            Err(error) => sums.skipped.push(Skipped::new(dataset, index, error)),
                        }
                        progress(1);
                    }
                    sums
                })
                .collect();
            sums.into_iter().for_each(|sums| total.merge(sums));
        }
        if total.pictures == 0 {
            let first = total.skipped.first();
            return Err(Error::Dataset {
                path: dataset.origin().to_owned(),
                detail: format!(
                    "none of the {} pictures could be read; the first: {}",
                    dataset.len(),
                    first.map_or(String::new(), ToString::to_string)
                ),
            });
        }
        let colors = (geometry.channels == 3).then(|| total.colors());
        let count = total.pictures as f64;
        let mean = match recipe.invert {
            // As many values stand on one side of the middle as on the other.
            true => vec![127.5; total.whole.len()],
            false => total.whole.iter().map(|sum| (sum / count) as f32).collect(),
        };
        let mean = FloatImage::new(rows, cols, geometry.channels, mean)?;
        Ok(Self { mean, colors, pictures: total.pictures, skipped: total.skipped })
    }
}

impl Sums {
    fn new(length: usize) -> Self {
        let products = [[0.0; 3]; 3];
        Self { whole: vec![0.0; length], products, pictures: 0, skipped: Vec::new() }
    }

    fn add(&mut self, whole: &FloatImage) {
        for (sum, &value) in self.whole.iter_mut().zip(whole.values()) {
            *sum += f64::from(value);
        }
        if whole.channels() == 3 {
            for pixel in whole.values().as_chunks::<3>().0 {
                let pixel = pixel.map(f64::from);
                for (row, a) in self.products.iter_mut().zip(pixel) {
                    for (sum, b) in row.iter_mut().zip(pixel) {
                        *sum += a * b;
                    }
                }
            }
        }
        self.pictures += 1;
    }

    fn merge(&mut self, other: Self) {
        for (sum, value) in self.whole.iter_mut().zip(other.whole) {
            *sum += value;
        }
        for (sums, values) in self.products.iter_mut().zip(other.products) {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum += value;
            }
        }
        self.pictures += other.pictures;
        self.skipped.extend(other.skipped);
    }

    fn colors(&self) -> ColorComponents {
        let pixels = (self.whole.len() / 3 * self.pictures) as f64;
        let mut mean = [0.0; 3];
        for pixel in self.whole.as_chunks::<3>().0 {
            for (mean, sum) in mean.iter_mut().zip(pixel) {
                *mean += sum / pixels;
            }
        }
        let mut covariance = self.products;
        for (row, a) in covariance.iter_mut().zip(mean) {
            for (value, b) in row.iter_mut().zip(mean) {
                *value = *value / pixels - a * b;
            }
        }
        ColorComponents::of(covariance)
    }
}

impl ColorComponents {
    /// The components of a symmetric matrix, by Jacobi's rotations (Golub and Van Loan, "Matrix
    /// Computations", 8.5).
    pub fn of(mut matrix: [[f64; 3]; 3]) -> Self {
        let mut vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]];
        let scale: f64 = matrix.iter().flatten().map(|v| v.abs()).fold(0.0, f64::max);
        for _ in 0..MOST_SWEEPS {
            let rest = matrix[0][1].abs() + matrix[0][2].abs() + matrix[1][2].abs();
            if rest <= scale * 1e-15 {
                break;
            }
            for (p, q) in [(0, 1), (0, 2), (1, 2)] {
                rotate(&mut matrix, &mut vectors, p, q);
            }
        }
        let mut order = [0, 1, 2];
        order.sort_by(|&a, &b| matrix[b][b].total_cmp(&matrix[a][a]));
        Self {
            values: order.map(|i| matrix[i][i] as f32),
            vectors: order.map(|i| {
                let vector = vectors.map(|row| row[i]);
                let largest =
                    vector.into_iter().fold(0.0f64, |a, b| if b.abs() > a.abs() { b } else { a });
                vector.map(|part| (if largest < 0.0 { -part } else { part }) as f32)
            }),
        }
    }
}

/// One rotation that makes `matrix[p][q]` zero; the columns of `vectors` turn along.
fn rotate(matrix: &mut [[f64; 3]; 3], vectors: &mut [[f64; 3]; 3], p: usize, q: usize) {
    if matrix[p][q] == 0.0 {
        return;
    }
    let tau = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
    // The smaller of the two angles.
    let tangent = tau.signum() / (tau.abs() + (1.0 + tau * tau).sqrt());
    let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
    let sine = tangent * cosine;
    let turn = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
    for row in matrix.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
    let (old_p, old_q) = (matrix[p], matrix[q]);
    matrix[p] = [0, 1, 2].map(|col| turn(old_p[col], old_q[col]).0);
    matrix[q] = [0, 1, 2].map(|col| turn(old_p[col], old_q[col]).1);
    for row in vectors.iter_mut() {
        (row[p], row[q]) = turn(row[p], row[q]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Image;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn components_are_eigenvectors(parts in proptest::array::uniform9(-50f64..50.0)) {
            // A Gram matrix, as covariances are.
            let a = [[parts[0], parts[1], parts[2]], [parts[3], parts[4], parts[5]],
                [parts[6], parts[7], parts[8]]];
            let entry = |i: usize, j: usize| (0..3).map(|k| a[k][i] * a[k][j]).sum::<f64>();
            let matrix = [0, 1, 2].map(|i| [0, 1, 2].map(|j| entry(i, j)));
            let found = ColorComponents::of(matrix);
            prop_assert!(found.values.is_sorted_by(|a, b| a >= b));
            let scale = f64::from(found.values[0]).max(1.0);
            for (value, vector) in found.values.iter().zip(found.vectors) {
                let vector = vector.map(f64::from);
                let length: f64 = vector.iter().map(|v| v * v).sum();
                prop_assert!((length - 1.0).abs() < 1e-5);
                for row in matrix {
                    let product: f64 = row.iter().zip(vector).map(|(m, v)| m * v).sum();
                    let at = matrix.iter().position(|r| *r == row).unwrap();
                    prop_assert!((product - f64::from(*value) * vector[at]).abs() < 1e-5 * scale);
                }
            }
        }
    }

    #[test]
    fn the_same_bits_for_any_number_of_threads() {
        let picture = |seed: usize| {
            let value = |i: usize| (i * 31 + seed * 97 + i / 5 * seed) as u8;
            Image::new(9, 12, 3, (0..9 * 12 * 3).map(value).collect()).unwrap()
        };
        let dataset = Dataset::from_images((0..200).map(picture).collect(), vec![0; 200]).unwrap();
        let geometry = Geometry { image: [7, 7], net: [5, 5], channels: 3, scan_scale: 1 };
        let recipe = Recipe::by_name("ccv").unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let run =
                || Statistics::compute(&dataset, &recipe, &geometry, &Limits::default(), &|_| {});
            let found = pool.install(run).unwrap();
            let bits: Vec<u32> = found.mean.values().iter().map(|v| v.to_bits()).collect();
            (bits, found.colors.unwrap())
        };
        let one = with(1);
        assert_eq!(one, with(4));
        // And they are the mean: of the first value, over the formed pictures.
        let plain = Recipe { mean: MeanPatch::None, color_gain: 0.0, ..recipe.clone() };
        let former = Augmenter::new(&plain, &geometry, None, None).unwrap();
        let first = |i| f64::from(former.whole(&picture(i)).unwrap().values()[0]);
        let mean = (0..200).map(first).sum::<f64>() / 200.0;
        assert!((mean - f64::from(f32::from_bits(one.0[0]))).abs() < 1e-4);
    }

    #[test]
    fn a_broken_picture_is_named_and_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let (good, bad) = (folder.path().join("a.png"), folder.path().join("b.png"));
        crate::output::write_png(&good, &Image::filled(4, 4, 1, 7).unwrap()).unwrap();
        std::fs::write(&bad, "no picture").unwrap();
        let geometry = Geometry { image: [4, 4], net: [4, 4], channels: 1, scan_scale: 1 };
        let recipe = Recipe::by_name("plain").unwrap();
        let compute = |files: Vec<_>| {
            let dataset = Dataset::from_files("here", files, None).unwrap();
            Statistics::compute(&dataset, &recipe, &geometry, &Limits::default(), &|_| {})
        };
        let found = compute(vec![(good, 0), (bad.clone(), 0)]).unwrap();
        assert_eq!((found.pictures, found.skipped.len(), found.colors), (1, 1, None));
        assert_eq!(found.skipped[0].index, 1);
        assert!(found.mean.values().iter().all(|&v| v == 7.0));
        let error = compute(vec![(bad, 0)]).unwrap_err().to_string();
        assert!(error.contains("none of the 1 pictures") && error.contains("b.png"), "{error}");
    }
}
