//! Shaders through Mesa's RADV without a card: what its compiler makes of a specialisation.
//!
//! `RADV_FORCE_FAMILY=navi31` has to be set when the process starts: the driver then compiles for that
//! family of cards, and runs nothing.

use std::collections::BTreeMap;
use std::ffi::CStr;

use ash::{khr, vk};
use naga::back::{pipeline_constants, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use striate_ops_wgsl::Specialisation;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The driver's numbers by their names: `Instructions`, `VGPRs`, `Spilled VGPRs`.
pub(crate) type Statistics = BTreeMap<String, u64>;

/// A driver that compiles.
pub(crate) struct Compiler {
    // Vulkan's library must outlive what came from it.
    _entry: ash::Entry,
    instance: ash::Instance,
    device: ash::Device,
    statistics: khr::pipeline_executable_properties::Device,
    name: String,
    driver: String,
}

impl Compiler {
    /// The first device that tells about its pipelines.
    pub(crate) fn open() -> Result<Self> {
        // SAFETY: Vulkan's library is loaded as any other; nothing of it is used beforehand.
        let entry = unsafe { ash::Entry::load()? };
        let application = vk::ApplicationInfo::default().api_version(vk::API_VERSION_1_1);
        let info = vk::InstanceCreateInfo::default().application_info(&application);
        // SAFETY: the structures live until the call returns, and name no extension.
        let instance = unsafe { entry.create_instance(&info, None)? };
        let needed = khr::pipeline_executable_properties::NAME;
        // SAFETY: the instance is alive.
        let all = unsafe { instance.enumerate_physical_devices()? };
        let tells = |device: &vk::PhysicalDevice| {
            // SAFETY: the device is one of the instance's.
            let extensions = unsafe { instance.enumerate_device_extension_properties(*device) };
            extensions.is_ok_and(|all| {
                all.iter().any(|e| e.extension_name_as_c_str().is_ok_and(|name| name == needed))
            })
        };
        let is_radv = |device: &vk::PhysicalDevice| {
            // SAFETY: as above.
            let properties = unsafe { instance.get_physical_device_properties(*device) };
            let name = properties.device_name_as_c_str().map(CStr::to_string_lossy);
            name.is_ok_and(|name| name.contains("RADV"))
        };
        let Some(own) = all.into_iter().filter(is_radv).find(tells) else {
            return Err("no RADV device: is RADV_FORCE_FAMILY set?".into());
        };
        // SAFETY: as above.
        let properties = unsafe { instance.get_physical_device_properties(own) };
        let name = properties.device_name_as_c_str()?.to_string_lossy().into_owned();
        let version = properties.driver_version;
        let [major, minor, patch] =
            [vk::api_version_major, vk::api_version_minor, vk::api_version_patch]
                .map(|part| part(version));
        let driver = format!("Mesa {major}.{minor}.{patch}");
        let priorities = [1.0];
        let queues = [vk::DeviceQueueCreateInfo::default().queue_priorities(&priorities)];
        let extensions = [needed.as_ptr()];
        let mut feature = vk::PhysicalDevicePipelineExecutablePropertiesFeaturesKHR::default()
            .pipeline_executable_info(true);
        let info = vk::DeviceCreateInfo::default()
            .queue_create_infos(&queues)
            .enabled_extension_names(&extensions)
            .push_next(&mut feature);
        // SAFETY: the structures live until the call returns; the extension is offered, and the queue
        // family 0 exists on every device.
        let device = unsafe { instance.create_device(own, &info, None)? };
        let statistics = khr::pipeline_executable_properties::Device::new(&instance, &device);
        Ok(Compiler { _entry: entry, instance, device, statistics, name, driver })
    }

    /// The card.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The driver's version: `Mesa 22.3.6`.
    pub(crate) fn driver(&self) -> &str {
        &self.driver
    }

    /// What a specialisation becomes.
    pub(crate) fn compile(&self, shader: &Specialisation) -> Result<Statistics> {
        let (module, words) = spirv(shader)?;
        let info = vk::ShaderModuleCreateInfo::default().code(&words);
        let bindings: Vec<vk::DescriptorSetLayoutBinding<'_>> = (module.global_variables.iter())
            .filter_map(|(_, variable)| {
                let ty = match variable.space {
                    naga::AddressSpace::Uniform => vk::DescriptorType::UNIFORM_BUFFER_DYNAMIC,
                    _ => vk::DescriptorType::STORAGE_BUFFER,
                };
                let own = variable.binding.as_ref()?.binding;
                Some(
                    vk::DescriptorSetLayoutBinding::default()
                        .binding(own)
                        .descriptor_type(ty)
                        .descriptor_count(1)
                        .stage_flags(vk::ShaderStageFlags::COMPUTE),
                )
            })
            .collect();
        let device = &self.device;
        // SAFETY: every structure lives until its call returns, every handle is this device's, and is
        // destroyed once, after its last use.
        unsafe {
            let module = device.create_shader_module(&info, None)?;
            let set = vk::DescriptorSetLayoutCreateInfo::default().bindings(&bindings);
            let sets = [device.create_descriptor_set_layout(&set, None)?];
            let layout = vk::PipelineLayoutCreateInfo::default().set_layouts(&sets);
            let layout = device.create_pipeline_layout(&layout, None)?;
            let stage = vk::PipelineShaderStageCreateInfo::default()
                .stage(vk::ShaderStageFlags::COMPUTE)
                .module(module)
                .name(c"main");
            let create = vk::ComputePipelineCreateInfo::default()
                .flags(vk::PipelineCreateFlags::CAPTURE_STATISTICS_KHR)
                .stage(stage)
                .layout(layout);
            let made = device.create_compute_pipelines(vk::PipelineCache::null(), &[create], None);
            let result = made.map_err(|(_, error)| error).and_then(|pipelines| {
                let info = vk::PipelineExecutableInfoKHR::default().pipeline(pipelines[0]);
                let numbers = self.statistics.get_pipeline_executable_statistics(&info);
                device.destroy_pipeline(pipelines[0], None);
                numbers
            });
            device.destroy_pipeline_layout(layout, None);
            device.destroy_descriptor_set_layout(sets[0], None);
            device.destroy_shader_module(module, None);
            let number = |own: &vk::PipelineExecutableStatisticKHR<'_>| {
                let name = own.name_as_c_str().ok()?.to_string_lossy().into_owned();
                // The driver's numbers are all of this kind.
                let is_number = own.format == vk::PipelineExecutableStatisticFormatKHR::UINT64;
                is_number.then_some((name, own.value.u64))
            };
            Ok(result?.iter().filter_map(number).collect())
        }
    }
}

impl Drop for Compiler {
    fn drop(&mut self) {
        // SAFETY: nothing of the device is left, and nothing of the instance but it.
        unsafe {
            self.device.destroy_device(None);
            self.instance.destroy_instance(None);
        }
    }
}

/// A specialisation as drivers get it.
fn spirv(shader: &Specialisation) -> Result<(naga::Module, Vec<u32>)> {
    let module = naga::front::wgsl::parse_str(shader.source)?;
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module)?;
    let constants: naga::back::PipelineConstants =
        shader.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let stage = (naga::ShaderStage::Compute, "main");
    let (module, info) =
        pipeline_constants::process_overrides(&module, &info, Some(stage), &constants)?;
    let options = spv::Options {
        lang_version: (1, 3),
        // As `pipelines.rs` compiles them.
        force_loop_bounding: false,
        zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
        ..Default::default()
    };
    let pipeline = spv::PipelineOptions { shader_stage: stage.0, entry_point: stage.1.into() };
    let words = spv::write_vec(&module, &info, &options, Some(&pipeline))?;
    Ok((module.into_owned(), words))
}
