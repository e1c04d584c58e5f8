//! Trainings of modules in files.

use std::collections::BTreeMap;
use std::path::Path;

use striate_importers::safetensors::{self, TensorFile, state_name};
use striate_nn::{Method, Module, OptimizerState, ParameterId, named_parameters, require_grad};
use striate_tensor::DType;

use super::Trainer;
use crate::{Error, Result};

/// The key of the number of the next mini-batch, of the optimizer's name and of the number of its steps.
const NEXT: &str = "striate.train.next";
const OPTIMIZER: &str = "striate.train.optimizer";
const STEPS: &str = "striate.train.steps";

impl<M: Module> Trainer<M> {
    /// Saves the module's parameters and buffers, what its optimizer remembers of them, and the number of the
    /// next mini-batch, as a safetensors file that takes the place of `path` when it is whole.
    ///
    /// # Errors
    /// [`Error::Option`] where gradients wait for more mini-batches: [`flush`](Trainer::flush) first;
    /// [`Error::Checkpoint`] where the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>, next: u64) -> Result<()> {
        if self.is_accumulating() {
            let expected = "weights that have moved by all gradients: flush first".to_owned();
            return Err(Error::Option { expected, got: "gradients that wait".into() });
        }
        let names = named_parameters(&self.network);
        let state = self.descent.state();
        let mut tensors = Vec::new();
        for (kind, own) in &state.tensors {
            for (id, tensor) in own {
                if let Some((name, _)) = names.get(id.index()) {
                    tensors.push((state_name(kind, name), tensor.clone()));
                }
            }
        }
        let mut texts = BTreeMap::from([(NEXT.to_owned(), next.to_string())]);
        if self.options().optimizer != Method::Sgd {
            texts.insert(OPTIMIZER.to_owned(), self.options().optimizer.name().to_owned());
        }
        if state.steps > 0 {
            texts.insert(STEPS.to_owned(), state.steps.to_string());
        }
        Ok(safetensors::save_with(path, &self.network, &tensors, &texts)?)
    }

    /// Takes up what [`save`](Trainer::save) wrote, in a trainer of the same module and options, and
    /// gives the number of the next mini-batch: the training then has the same bits as one that was
    /// never interrupted.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] where the file is of another module; [`Error::State`] where it does not say
    /// where the training was.
    pub fn resume(&mut self, path: impl AsRef<Path>) -> Result<u64> {
        let file = TensorFile::open(path)?;
        let next = file.metadata().get(NEXT).and_then(|text| text.parse().ok());
        let Some(next) = next else {
            let expected = "a training that a trainer saved".to_owned();
            return Err(Error::State { expected, got: file.metadata().len().to_string() });
        };
        let own = self.options().optimizer.name();
        let optimizer = file.metadata().get(OPTIMIZER).map_or(Method::Sgd.name(), String::as_str);
        if optimizer != own {
            let expected = format!("a training with the optimizer {own}");
            return Err(Error::State { expected, got: format!("one with {optimizer}") });
        }
        let steps = file.metadata().get(STEPS).and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut state = OptimizerState { steps, ..OptimizerState::default() };
        let kinds = self.options().state();
        for (place, (name, tensor)) in named_parameters(&self.network).into_iter().enumerate() {
            for kind in &kinds {
                let stored = state_name(kind, &name);
                let Some(shape) = file.shape(&stored) else { continue };
                if shape != tensor.dims() {
                    let expected = format!("{stored} of shape {}", tensor.shape());
                    return Err(Error::State { expected, got: format!("{shape:?}") });
                }
                let tensor = file.tensor(&stored, tensor.device(), Some(DType::F32))?;
                let own = state.tensors.entry((*kind).to_owned()).or_default();
                own.insert(ParameterId(place as u32), tensor);
            }
        }
        safetensors::load_file(&file, &mut self.network)?;
        require_grad(&mut self.network);
        self.descent.set_state(state);
        Ok(next)
    }
}
