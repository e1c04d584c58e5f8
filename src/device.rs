//! Devices by name.

use striate_ops_cpu::Cpu;
#[cfg(feature = "gpu")]
use striate_ops_wgsl::{AdapterChoice, Options, Wgpu};
use striate_tensor::{Device, DeviceInfo, Error, Result};

/// How a device is set up.
///
/// ```
/// use striate::prelude::*;
///
/// let device = Device::by_name("cpu", &DeviceOptions { threads: Some(2) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Threads of the CPU: as many as it runs at once (or `RAYON_NUM_THREADS`) if not said.
    pub threads: Option<usize>,
}

/// Constructors of [`Device`]: in scope with the prelude.
///
/// ```
/// use striate::prelude::*;
///
/// let device = Device::auto()?;
/// println!("{}", device.info().name);
/// for other in Device::all()? {
///     println!("{}", other.name);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait DeviceByName: Sized {
    /// The best device of this machine: the best GPU, else the CPU.
    ///
    /// # Errors
    /// Where the device cannot be set up.
    fn auto() -> Result<Self> {
        Self::by_name("auto", &DeviceOptions::default())
    }

    /// The CPU, with so many threads (as many as it runs at once if not said).
    ///
    /// # Errors
    /// For 0 threads.
    fn cpu(threads: Option<usize>) -> Result<Self> {
        Self::by_name("cpu", &DeviceOptions { threads })
    }

    /// The device of this name: `cpu`; `gpu`, the best graphics processor; `gpu:N` or `gpu:NAME`,
    /// that of a number or the one whose name contains NAME, in upper or lower case; `auto`, the best graphics processor
    /// that is not software, else the CPU.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] where no device has it; the message says which names there are, or
    /// what to install.
    fn by_name(name: &str, options: &DeviceOptions) -> Result<Self>;

    /// All devices of this machine, the best first.
    ///
    /// # Errors
    /// Where a device cannot be asked.
    fn all() -> Result<Vec<DeviceInfo>>;
}

impl DeviceByName for Device {
    fn by_name(name: &str, options: &DeviceOptions) -> Result<Self> {
        match name {
            "cpu" => Ok(Device::new(Cpu::new(options.threads)?)),
            _ => match open_gpu(name)? {
                Some(gpu) => Ok(gpu),
                None => Self::by_name("cpu", options),
            },
        }
    }

    fn all() -> Result<Vec<DeviceInfo>> {
        let mut devices = gpus();
        devices.push(Device::cpu(None)?.info());
        Ok(devices)
    }
}

/// The graphics processor that a name means (`gpu`, `gpu:N`, `gpu:NAME`, `auto`), opened with these
/// options; none where `auto` finds no hardware one. A [`Device`] can be made of a clone of it.
///
/// # Errors
/// As [`DeviceByName::by_name`].
#[cfg(feature = "gpu")]
pub fn gpu_by_name(name: &str, options: Options) -> Result<Option<Wgpu>> {
    let auto = name == "auto";
    let choice = name.parse::<AdapterChoice>().map_err(|_| unknown(name))?;
    match Wgpu::new(&choice, options) {
        Ok(gpu) => Ok(Some(gpu)),
        Err(error) if auto => {
            static SAID: std::sync::Once = std::sync::Once::new();
            SAID.call_once(|| log::info!("computing on the CPU: {error}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(feature = "gpu")]
fn open_gpu(name: &str) -> Result<Option<Device>> {
    Ok(gpu_by_name(name, Options::default())?.map(Device::new))
}

fn unknown(name: &str) -> Error {
    let reason = "devices are `auto`, `cpu`, `gpu`, `gpu:N` and `gpu:NAME`";
    Error::UnknownDevice { name: name.into(), reason: reason.into() }
}

#[cfg(feature = "gpu")]
fn gpus() -> Vec<DeviceInfo> {
    let opened = striate_ops_wgsl::adapters()
        .into_iter()
        .map(|adapter| Wgpu::new(&AdapterChoice::Index(adapter.index), Options::default()));
    opened.filter_map(|gpu| Some(Device::new(gpu.ok()?).info())).collect()
}

#[cfg(not(feature = "gpu"))]
fn open_gpu(name: &str) -> Result<Option<Device>> {
    match name {
        "auto" => Ok(None),
        _ if name == "gpu" || name.starts_with("gpu:") => Err(Error::UnknownDevice {
            name: name.into(),
            reason: "this build is without the feature `gpu`; use `cpu` or `auto`".into(),
        }),
        _ => Err(unknown(name)),
    }
}

#[cfg(not(feature = "gpu"))]
fn gpus() -> Vec<DeviceInfo> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_has_are_errors_that_say_which_there_are() {
        let error =
            |name| Device::by_name(name, &DeviceOptions::default()).unwrap_err().to_string();
        assert!(error("tpu").contains("`cpu`"), "{}", error("tpu"));
        assert!(error("gpu:no such thing").contains("gpu"), "{}", error("gpu:no such thing"));
        assert!(Device::cpu(Some(0)).is_err());
        assert_eq!(Device::cpu(Some(1)).unwrap().info().name, "cpu");
        assert!(Device::auto().is_ok(), "there is always the CPU");
    }
}
