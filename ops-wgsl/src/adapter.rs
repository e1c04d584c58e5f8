//! Which graphics processors there are, and the choice of one.

use std::sync::OnceLock;

use striate_tensor::{DeviceKind, Error, Result};

/// Which adapter to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdapterChoice {
    /// The best graphics processor; no software one. Linux without a device file of graphics hardware
    /// in `/dev` has none, and no driver is loaded to ask.
    Hardware,
    /// The best graphics processor; a software one where there is no other.
    Gpu,
    /// The one at this place of [`adapters`].
    Index(usize),
    /// The one whose name contains this, in upper or lower case. Of several the one that is named
    /// exactly so; where there is none, which is meant is not clear, and that is an error.
    Name(String),
}

impl std::str::FromStr for AdapterChoice {
    type Err = Error;

    /// From `gpu`, `gpu:N` or `gpu:NAME`, and `auto` for [`AdapterChoice::Hardware`].
    fn from_str(name: &str) -> Result<Self> {
        match (name, name.strip_prefix("gpu:")) {
            ("auto", _) => Ok(AdapterChoice::Hardware),
            ("gpu", _) => Ok(AdapterChoice::Gpu),
            (_, Some(which)) => Ok(match which.parse() {
                Ok(index) => AdapterChoice::Index(index),
                Err(_) => AdapterChoice::Name(which.into()),
            }),
            _ => Err(Error::UnknownDevice {
                name: name.into(),
                reason: "graphics processors are `gpu`, `gpu:N` and `gpu:NAME`".into(),
            }),
        }
    }
}

/// A graphics adapter of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterInfo {
    /// Its place in [`adapters`]: the number in `gpu:0`.
    pub index: usize,
    /// The product, as the driver names it.
    pub name: String,
    /// Discrete, integrated or software.
    pub kind: DeviceKind,
    /// The graphics interface: `vulkan`, `metal` or `dx12`.
    pub backend: String,
    /// The driver and its version.
    pub driver: String,
}

/// The adapters of this machine, the best first: discrete, then integrated, then software. It waits for
/// drivers to load.
pub fn adapters() -> Vec<AdapterInfo> {
    listed(pollster::block_on(found()))
}

fn listed(adapters: &[wgpu::Adapter]) -> Vec<AdapterInfo> {
    adapters.iter().enumerate().map(|(index, adapter)| describe(index, adapter)).collect()
}

pub(crate) fn describe(index: usize, adapter: &wgpu::Adapter) -> AdapterInfo {
    let info = adapter.get_info();
    AdapterInfo {
        index,
        name: info.name.clone(),
        kind: kind(info.device_type),
        backend: info.backend.to_string(),
        driver: format!("{} {}", info.driver, info.driver_info).trim().to_string(),
    }
}

fn kind(ty: wgpu::DeviceType) -> DeviceKind {
    match ty {
        wgpu::DeviceType::Cpu => DeviceKind::SoftwareGpu,
        wgpu::DeviceType::IntegratedGpu => DeviceKind::IntegratedGpu,
        // A virtual one is a real one passed on; an unknown one is worth trying before software.
        wgpu::DeviceType::DiscreteGpu | wgpu::DeviceType::VirtualGpu | wgpu::DeviceType::Other => {
            DeviceKind::DiscreteGpu
        }
    }
}

fn rank(ty: wgpu::DeviceType) -> usize {
    match ty {
        wgpu::DeviceType::DiscreteGpu => 0,
        wgpu::DeviceType::VirtualGpu => 1,
        wgpu::DeviceType::IntegratedGpu => 2,
        wgpu::DeviceType::Other => 3,
        wgpu::DeviceType::Cpu => 4,
    }
}

/// The interfaces that shaders are written for; OpenGL's limits are below WebGPU's.
const BACKENDS: wgpu::Backends =
    wgpu::Backends::VULKAN.union(wgpu::Backends::METAL).union(wgpu::Backends::DX12);

/// The adapters, asked for once: loading a driver takes a while, and adapters do not come and go.
async fn found() -> &'static [wgpu::Adapter] {
    static FOUND: OnceLock<Vec<wgpu::Adapter>> = OnceLock::new();
    if let Some(found) = FOUND.get() {
        return found;
    }
    let mut descriptor = wgpu::InstanceDescriptor::new_without_display_handle();
    descriptor.backends = BACKENDS;
    // Validation layers are for debugging wgpu itself: they cost time in every call.
    descriptor.flags = wgpu::InstanceFlags::empty();
    let instance = wgpu::Instance::new(descriptor);
    let mut adapters = instance.enumerate_adapters(BACKENDS).await;
    adapters.retain(|adapter| {
        let flags = adapter.get_downlevel_capabilities().flags;
        flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS)
    });
    adapters.sort_by_key(|adapter| rank(adapter.get_info().device_type));
    // Who asked at the same time found the same ones.
    FOUND.get_or_init(|| adapters)
}

/// Whether there can be graphics hardware: false where its driver would have made a device file and
/// there is none. Asking the drivers themselves loads all of them, a software one with its compiler
/// among them: 0.03 s and 60 MB more where Mesa is installed, in a program that then computes on the CPU.
#[cfg(all(target_os = "linux", not(target_env = "ohos")))]
fn may_have_hardware(files: &std::path::Path) -> bool {
    // The kernel's own graphics drivers, NVIDIA's (also of Tegra), Windows' for Linux inside it, and
    // those of Arm, Qualcomm, Imagination and Vivante.
    const BEGINNINGS: [&str; 10] =
        ["dri", "nvidia", "nvhost", "nvgpu", "nvmap", "dxg", "mali", "kgsl", "pvr", "galcore"];
    let Ok(entries) = std::fs::read_dir(files) else { return true };
    let mut names = entries.flatten().map(|entry| entry.file_name());
    names.any(|name| BEGINNINGS.iter().any(|start| name.to_string_lossy().starts_with(start)))
}

#[cfg(not(all(target_os = "linux", not(target_env = "ohos"))))]
fn may_have_hardware(_: &std::path::Path) -> bool {
    true
}

/// The adapter that a choice means, and its index.
pub(crate) async fn choose(choice: &AdapterChoice) -> Result<(usize, wgpu::Adapter)> {
    if *choice == AdapterChoice::Hardware && !may_have_hardware("/dev".as_ref()) {
        let reason = "no graphics hardware has a device file in /dev".into();
        return Err(Error::UnknownDevice { name: wanted(choice), reason });
    }
    let adapters = found().await;
    let software =
        |adapter: &wgpu::Adapter| adapter.get_info().device_type == wgpu::DeviceType::Cpu;
    let place = match choice {
        AdapterChoice::Hardware => adapters.iter().position(|adapter| !software(adapter)),
        AdapterChoice::Gpu => (!adapters.is_empty()).then_some(0),
        AdapterChoice::Index(index) => Some(*index).filter(|&index| index < adapters.len()),
        AdapterChoice::Name(name) => {
            let names: Vec<String> = adapters.iter().map(|a| a.get_info().name).collect();
            by_name(&names, name)?
        }
    };
    match place {
        Some(index) => Ok((index, adapters[index].clone())),
        None => Err(Error::UnknownDevice { name: wanted(choice), reason: missing(adapters) }),
    }
}

/// The place of the one adapter that a part of its name means; none where there is no such.
fn by_name(names: &[String], part: &str) -> Result<Option<usize>> {
    let part = part.trim().to_lowercase();
    let places = |is: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let named = names.iter().enumerate().filter(|(_, name)| is(&name.to_lowercase()));
        named.map(|(place, _)| place).collect()
    };
    let containing = places(&|name| name.contains(&part));
    match (&containing[..], &places(&|name| name == part)[..]) {
        ([], _) => Ok(None),
        ([one], _) | (_, [one]) => Ok(Some(*one)),
        (several, _) => {
            let list: Vec<String> =
                several.iter().map(|&place| format!("gpu:{place} ({})", names[place])).collect();
            Err(Error::UnknownDevice {
                name: format!("gpu:{part}"),
                reason: format!("several are named so; say which by number: {}", list.join(", ")),
            })
        }
    }
}

fn wanted(choice: &AdapterChoice) -> String {
    match choice {
        AdapterChoice::Hardware | AdapterChoice::Gpu => "gpu".into(),
        AdapterChoice::Index(index) => format!("gpu:{index}"),
        AdapterChoice::Name(name) => format!("gpu:{name}"),
    }
}

/// Which adapters there are, or what is missing for there to be one.
fn missing(adapters: &[wgpu::Adapter]) -> String {
    let adapters = listed(adapters);
    if adapters.is_empty() {
        return NO_DRIVER.into();
    }
    let list = adapters.iter().map(|adapter| {
        let software = adapter.kind == DeviceKind::SoftwareGpu;
        let note = if software { ", software" } else { "" };
        format!("gpu:{} ({}{note})", adapter.index, adapter.name)
    });
    format!("there are {}", list.collect::<Vec<_>>().join(", "))
}

#[cfg(target_os = "windows")]
const NO_DRIVER: &str = "there is no graphics driver; install the one of your graphics card \
     (NVIDIA, AMD or Intel), or use `cpu`";
#[cfg(target_vendor = "apple")]
const NO_DRIVER: &str = "this machine offers no Metal device; use `cpu`";
#[cfg(not(any(target_os = "windows", target_vendor = "apple")))]
const NO_DRIVER: &str = "there is no Vulkan driver; install your graphics card's (Debian and \
     Ubuntu: `mesa-vulkan-drivers` for AMD and Intel, `nvidia-driver` for NVIDIA; Fedora: \
     `mesa-vulkan-drivers`) and the loader (`libvulkan1`, `vulkan-loader`), or use `cpu`";

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(choice: &AdapterChoice) -> Result<(usize, wgpu::Adapter)> {
        pollster::block_on(super::choose(choice))
    }

    #[test]
    fn what_is_not_there_is_an_error_that_says_what_is() {
        let error = |choice| choose(&choice).unwrap_err().to_string();
        for message in
            [error(AdapterChoice::Index(999)), error(AdapterChoice::Name("no such card".into()))]
        {
            assert!(message.contains("gpu:0") || message.contains("use `cpu`"), "{message}");
        }
    }

    #[test]
    fn a_part_of_a_name_means_one_adapter() {
        let names = ["Arc A770", "GeForce RTX 4090", "GeForce RTX 4090 D", "llvmpipe (LLVM 15)"];
        let names = names.map(str::to_owned);
        let place = |part| by_name(&names, part);
        assert_eq!(place("arc").unwrap(), Some(0));
        assert_eq!(place("LLVM").unwrap(), Some(3));
        assert_eq!(place("radeon").unwrap(), None);
        // Contained in two names, and all of one of them.
        assert_eq!(place("geforce rtx 4090").unwrap(), Some(1));
        let message = place("GeForce").unwrap_err().to_string();
        for part in ["gpu:1 (GeForce RTX 4090)", "gpu:2 (GeForce RTX 4090 D)", "by number"] {
            assert!(message.contains(part), "{message}");
        }
        // Two of a kind can only be told apart by number.
        let twins = ["GeForce RTX 4090".to_owned(), "GeForce RTX 4090".to_owned()];
        assert!(by_name(&twins, "geforce rtx 4090").is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn device_files_tell_where_there_can_be_no_hardware() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("null"), "").unwrap();
        assert!(!may_have_hardware(folder.path()));
        std::fs::create_dir(folder.path().join("dri")).unwrap();
        assert!(may_have_hardware(folder.path()));
        // Who cannot see the files cannot tell.
        assert!(may_have_hardware(&folder.path().join("missing")));
    }

    #[test]
    fn software_comes_last_and_is_not_hardware() {
        let adapters = adapters();
        let software: Vec<bool> =
            adapters.iter().map(|a| a.kind == DeviceKind::SoftwareGpu).collect();
        assert!(software.is_sorted(), "{adapters:?}");
        let hardware = choose(&AdapterChoice::Hardware).is_ok();
        assert_eq!(hardware, software.contains(&false));
        assert_eq!(choose(&AdapterChoice::Gpu).is_ok(), !adapters.is_empty());
    }
}
