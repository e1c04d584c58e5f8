//! The device that a command computes on.

use striate::tensor::Device;
use striate::{DeviceByName, DeviceOptions};

use crate::args::Global;
use crate::error::Result;

/// A device, and its backend where that is a graphics processor.
pub(crate) struct Opened {
    pub(crate) device: Device,
    #[cfg(feature = "gpu")]
    pub(crate) gpu: Option<striate::ops_wgsl::Wgpu>,
}

impl Global {
    /// The device asked for.
    pub(crate) fn device(&self) -> Result<Device> {
        Ok(self.open(false)?.device)
    }

    /// The device asked for; with a clock of its own where asked and where it has one.
    #[cfg(feature = "gpu")]
    pub(crate) fn open(&self, clock: bool) -> Result<Opened> {
        if self.device == "cpu" {
            return self.open_cpu();
        }
        let mut options = striate::ops_wgsl::Options::default();
        options.profile = clock;
        let Some(gpu) = striate::gpu_by_name(&self.device, options)? else {
            crate::output::note(self.quiet, "no GPU found, computing on the CPU (-v says why)");
            return self.open_cpu();
        };
        let opened = Opened { device: Device::new(gpu.clone()), gpu: Some(gpu) };
        tell(&opened.device);
        Ok(opened)
    }

    /// The device asked for.
    #[cfg(not(feature = "gpu"))]
    pub(crate) fn open(&self, _clock: bool) -> Result<Opened> {
        match self.device.as_str() {
            "auto" | "cpu" => self.open_cpu(),
            other => Ok(Opened { device: Device::by_name(other, &self.device_options())? }),
        }
    }

    fn open_cpu(&self) -> Result<Opened> {
        let device = Device::by_name("cpu", &self.device_options())?;
        tell(&device);
        Ok(Opened {
            device,
            #[cfg(feature = "gpu")]
            gpu: None,
        })
    }

    /// How devices are set up.
    pub(crate) fn device_options(&self) -> DeviceOptions {
        DeviceOptions { threads: self.threads.map(std::num::NonZeroUsize::get) }
    }
}

/// Says with `-v` what is computed on: `computing on cpu: x86-64, AVX2 (threads: 8)`.
fn tell(device: &Device) {
    let info = device.info();
    let properties: Vec<String> =
        info.properties.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    log::info!("computing on {}: {} ({})", info.name, info.description, properties.join(", "));
}
