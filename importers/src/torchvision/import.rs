//! A state dict's numbers, brought into the order and the units used here.

use striate_models::imagenet::{Order, labels};
use striate_nn::{Metadata, Network};
use striate_tensor::{DType, Device, HostTensor, HostValues, Shape, Tensor, f16};

use super::layout::Layout;
use crate::options::ReadOptions;
use crate::preset::{Pixels, Preset};
use crate::state_dict::{StateDict, read_running};
use crate::torch::{ElementOrder, StateSlot, StateTensor};
use crate::values::{
    Counts, Narrowing, PIECE_BYTES, Run, Stored, load_runs, narrow, non_finite_f16, non_finite_f32,
    threads_for, value, widen,
};
use crate::{Error, Result};

/// The network of a state dict whose tensors are those of `layout`.
pub(super) fn import(
    file: &dyn StateDict,
    layout: &Layout,
    device: &Device,
    options: &ReadOptions,
) -> Result<Network> {
    let (mut parameters, mut buffers) = (Vec::new(), Vec::new());
    let pixels = options.pixels.over(file.file(), layout.preset.pixels)?;
    let preset = Preset { pixels, ..layout.preset };
    log::info!("{}: {}: pictures {preset}", file.file(), layout.name);
    let shapes = layout.shapes(file.file())?;
    let infos: Vec<_> = shapes.iter().flat_map(|shape| &shape.parameters).collect();
    for tensor in layout.tensors(&shapes) {
        if let StateSlot::Parameter(id) = tensor.slot {
            let shape = infos[id.index()].shape;
            let weight = Weight::new(&tensor, shape, &pixels);
            parameters.push(weight.load(file, device, options)?);
        }
    }
    for (shape, prefix) in shapes.iter().zip(&layout.prefixes) {
        let Some(prefix) = prefix else { continue };
        for buffer in &shape.buffers {
            buffers.push(read_running(file, prefix, buffer, device)?);
        }
    }
    let failed = |e| Error::network(file.file(), e);
    let (image, channels) = (layout.spec.image, layout.spec.input[2]);
    let mean = pixels.mean_image(image, channels, device);
    let mean = mean.map_err(|e| Error::tensor(file.file(), "the mean image", e))?;
    Network::of(layout.spec.clone(), parameters, buffers, device)
        .and_then(|network| network.with_metadata(metadata(layout)).with_mean(mean))
        .map_err(failed)
}

/// Labels where its makers named them or they are ImageNet's, and how its makers cut pictures.
pub(super) fn metadata(layout: &Layout) -> Metadata {
    let labels = layout.labels.clone().unwrap_or_else(|| labels(Order::Sorted));
    Metadata {
        labels: (labels.len() == layout.spec.classes()).then_some(labels),
        protocol: Some("tested".into()),
        view: Some(layout.preset.view(layout.spec.image)),
        note: Some(format!(
            "imported from a state dict of {}'s {}",
            layout.names.maker(),
            layout.name
        )),
        ..Metadata::default()
    }
}

/// What happens to a parameter: `[out, channels, spatial]` becomes `[out, spatial, channels]`, and
/// what is done to pixels may become part of it.
struct Weight<'a> {
    tensor: &'a StateTensor,
    /// Its shape here.
    shape: Shape,
    order: ElementOrder,
    /// What becomes part of the weights, for the layer that sees the pixels.
    pixels: Option<Pixels>,
}

impl<'a> Weight<'a> {
    fn new(tensor: &'a StateTensor, shape: Shape, pixels: &Pixels) -> Self {
        let order = tensor.order;
        let sees_pixels =
            tensor.layer == 0 && order != ElementOrder::SAME && order.channels == pixels.std.len();
        Weight { tensor, shape, order, pixels: sees_pixels.then_some(*pixels) }
    }

    fn load(&self, file: &dyn StateDict, device: &Device, options: &ReadOptions) -> Result<Tensor> {
        let name = &self.tensor.name;
        let failed = |e| Error::tensor(file.file(), format!("tensor {name}"), e);
        if self.order.is_same() && self.pixels.is_none() {
            return file.load(name, device, options)?.reshape(self.shape).map_err(failed);
        }
        let stored = file.stored(name)?;
        // Dividing by about 58 would push small halves into the subnormals: the few weights that
        // are scaled stay as exact as they can be, unless halves are asked for.
        let kept = if self.pixels.is_some() { DType::F32 } else { stored.dtype() };
        let dtype = options.dtype.unwrap_or(kept);
        let fill = file.fill(name)?;
        let (values, counts) = self.permute(file.file(), stored, dtype, fill)?;
        file.report(name, dtype, options, counts)?;
        HostTensor::new(self.shape, values)
            .and_then(|host| Tensor::from_host(host, device))
            .map_err(failed)
    }

    /// All outputs, by several threads where they are many; `fill` copies bytes of what is stored.
    fn permute(
        &self,
        file: &str,
        stored: Stored,
        dtype: DType,
        fill: impl Fn(&mut [u8], usize) -> Result<()> + Sync,
    ) -> Result<(HostValues, Counts)> {
        let count = self.shape.count();
        let mut values = HostValues::zeros(dtype, count);
        let Some(run) = Run::of(&mut values) else { return Ok((values, Counts::default())) };
        let threads = threads_for(count * stored.size_bytes());
        let counts = load_runs(file, run, threads, self.order.row(), |run, first| {
            self.permute_run(run, first, stored, &fill)
        })?;
        Ok((values, counts))
    }

    /// Output by output, so that only the result and a few rows are held.
    fn permute_run(
        &self,
        mut run: Run<'_>,
        first: usize,
        stored: Stored,
        fill: impl Fn(&mut [u8], usize) -> Result<()>,
    ) -> Result<Counts> {
        let (row, size) = (self.order.row(), stored.size_bytes());
        let at_once = (PIECE_BYTES / (row * size).max(1)).max(1) * row;
        let mut buffer = vec![0; at_once.min(run.len()) * size];
        let (mut wide, mut turned) = (vec![0.0f32; row], vec![0.0f32; row]);
        let mut counts = Counts::default();
        for start in (0..run.len()).step_by(at_once.max(1)) {
            let n = at_once.min(run.len() - start);
            let bytes = &mut buffer[..n * size];
            fill(bytes, (first + start) * size)?;
            for (i, bytes) in bytes.chunks_exact((row * size).max(1)).enumerate() {
                widen(bytes, stored, &mut wide);
                let out = start + i * row..start + (i + 1) * row;
                // Where a value of the file has gone.
                let place = |i: usize| self.order.from_torch(i);
                let before = |i: usize| value(bytes, stored, i);
                let more = match &mut run {
                    Run::F32(values) => {
                        let out = &mut values[out];
                        self.turn(&wide, out);
                        match non_finite_f32(out, |v| v.to_bits()) {
                            0 => continue,
                            _ => Counts::of(row, |i| out[place(i)].is_finite(), before),
                        }
                    }
                    Run::F16(values) => {
                        let out: &mut [f16] = &mut values[out];
                        self.turn(&wide, &mut turned);
                        narrow(&turned, Narrowing::Nearest, out);
                        match non_finite_f16(out, |v| v.to_bits()) {
                            0 => continue,
                            _ => Counts::of(row, |i| out[place(i)].is_finite(), before),
                        }
                    }
                };
                counts = counts.and(more.after(first + start + i * row));
            }
        }
        Ok(counts)
    }

    /// `[channels, spatial]` to `[spatial, channels]`, with what is done to pixels.
    fn turn(&self, from: &[f32], to: &mut [f32]) {
        let ElementOrder { channels, spatial } = self.order;
        for (channel, from) in from.chunks_exact(spatial).enumerate() {
            for (at, value) in from.iter().enumerate() {
                to[at * channels + channel] = *value;
            }
        }
        if let Some(pixels) = &self.pixels {
            to.chunks_exact_mut(channels).for_each(|pixel| pixels.fold(pixel));
        }
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
