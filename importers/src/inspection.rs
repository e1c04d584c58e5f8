//! What a model file holds, seen without loading its weights.

use serde::{Serialize, Serializer};
use striate_nn::{Metadata, NetworkSpec};
use striate_tensor::DType;

use crate::Format;

/// What a model file holds, seen without loading its weights.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its kind.
    pub format: Format,
    /// Its size.
    pub bytes: u64,
    /// The network.
    pub spec: NetworkSpec,
    /// What is stored for each layer; nothing for one without weights.
    pub layers: Vec<Option<StoredParameters>>,
    /// Whether there is a mean image.
    pub mean: bool,
    /// Names of tables or tensors that hold the state of a training.
    pub training_state: Vec<String>,
    /// Where that training is; `None` where there is none, or its state cannot be read.
    pub training: Option<TrainingPosition>,
    /// With which options it goes on, as the trainer noted them; `None` where it noted none.
    pub training_options: Option<serde_json::Value>,
    /// Labels, protocol and notes.
    pub metadata: Metadata,
}

impl Inspection {
    /// The number of weights and biases.
    pub fn parameters(&self) -> usize {
        self.layers.iter().flatten().map(StoredParameters::count).sum()
    }

    /// The precision of the weights, where all layers have the same.
    pub fn dtype(&self) -> Option<DType> {
        let mut all = self.layers.iter().flatten().map(|l| l.weight_dtype);
        let first = all.next()?;
        all.all(|dtype| dtype == first).then_some(first)
    }
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Its name.
    pub name: String,
    /// The type of its elements, as the form of the file names it.
    pub dtype: String,
    /// Its shape, as the file has it.
    pub shape: Vec<usize>,
}

/// Where the training of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TrainingPosition {
    /// The epoch, counted from 0.
    pub epoch: u64,
    /// The iteration within the epoch, counted from 0.
    pub iteration: u64,
    /// The number of training samples.
    pub samples: u64,
}

/// What is stored for a layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoredParameters {
    /// The precision of the weights.
    #[serde(serialize_with = "dtype_name")]
    pub weight_dtype: DType,
    /// The number of weights.
    pub weights: usize,
    /// The precision of the biases.
    #[serde(serialize_with = "dtype_name")]
    pub bias_dtype: DType,
    /// The number of biases.
    pub biases: usize,
}

impl StoredParameters {
    pub(crate) fn new(
        weight_dtype: DType,
        weights: usize,
        bias_dtype: DType,
        biases: usize,
    ) -> Self {
        StoredParameters { weight_dtype, weights, bias_dtype, biases }
    }

    /// A layer's parameters with one more: the first are its weights, what follows its biases.
    pub(crate) fn with(known: Option<StoredParameters>, dtype: DType, count: usize) -> Self {
        match known {
            None => StoredParameters::new(dtype, count, dtype, 0),
            Some(StoredParameters { weight_dtype, weights, biases, .. }) => {
                StoredParameters::new(weight_dtype, weights, dtype, biases + count)
            }
        }
    }

    /// The number of weights and biases.
    pub fn count(&self) -> usize {
        self.weights + self.biases
    }
}

fn dtype_name<S: Serializer>(dtype: &DType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(dtype.name())
}
