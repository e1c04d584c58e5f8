//! Devices by name.

use striate_ops_cpu::Cpu;
use striate_tensor::{Device, DeviceInfo, Error, Result};

/// How a device is set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Threads of the CPU: as many as it runs at once (or `RAYON_NUM_THREADS`) if not said.
    pub threads: Option<usize>,
}

/// Constructors of [`Device`]: in scope with the prelude.
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

    /// The device of this name: `cpu`, `auto`, `gpu` or `gpu:N`.
    ///
    /// # Errors
    /// [`Error::UnknownDevice`] where no device has it; the message says which names there are.
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
            // A GPU backend, once this build has one, is asked first.
            "auto" | "cpu" => Ok(Device::new(Cpu::new(options.threads)?)),
            _ if name == "gpu" || name.starts_with("gpu:") => Err(Error::UnknownDevice {
                name: name.into(),
                reason: "this build has no GPU backend; use `cpu` or `auto`".into(),
            }),
            _ => Err(Error::UnknownDevice {
                name: name.into(),
                reason: "devices are `auto`, `cpu`, `gpu` and `gpu:N`".into(),
            }),
        }
    }

    fn all() -> Result<Vec<DeviceInfo>> {
        Ok(vec![Device::cpu(None)?.info()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_device_has_are_errors_that_say_which_there_are() {
        let error =
            |name| Device::by_name(name, &DeviceOptions::default()).unwrap_err().to_string();
        assert!(error("tpu").contains("`cpu`"), "{}", error("tpu"));
        assert!(error("gpu:1").contains("gpu:1"), "{}", error("gpu:1"));
        assert!(Device::cpu(Some(0)).is_err());
        assert_eq!(Device::auto().unwrap().info().name, "cpu");
    }
}
