//! The conformance suite on a graphics adapter: within WebGPU's default limits, with every check in
//! the shaders; and with all that the adapter offers, without them.
//!
//! Without an adapter the tests say so and pass; with `STRIATE_REQUIRE_GPU=1` they fail.

use striate_ops_wgsl::{AdapterChoice, Options, Wgpu};
use striate_tensor::Device;
use striate_tensor::conformance::{FAMILIES, Settings};

/// A device, where there is an adapter.
fn device(options: Options) -> Option<Device> {
    match Wgpu::new(&AdapterChoice::Gpu, options) {
        Ok(gpu) => Some(Device::new(gpu)),
        Err(error) if std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|v| v == "1") => {
            panic!("STRIATE_REQUIRE_GPU is set, and {error}")
        }
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

fn default_limits() -> Options {
    let mut options = Options::default();
    options.default_limits = true;
    options.checked = true;
    options.cache = None;
    options
}

fn full_limits() -> Options {
    let mut options = Options::default();
    options.cache = None;
    options
}

/// Graphics drivers may flush subnormal numbers.
const SETTINGS: Settings = Settings { cases: 64, tolerance: 1e-5, subnormals: false };

fn run(name: &str, options: Options) {
    let Some(device) = device(options) else { return };
    let family = FAMILIES.iter().find(|(family, _)| *family == name);
    let (_, family) = family.unwrap_or_else(|| panic!("no family {name}"));
    family(&device, &SETTINGS);
    // A refusal that came late belongs to this family.
    device.synchronize().unwrap();
}

macro_rules! families {
    ($($name:ident)*) => {
        mod default_limits {
            $(#[test] fn $name() { super::run(stringify!($name), super::default_limits()); })*
        }
        mod full_limits {
            $(#[test] fn $name() { super::run(stringify!($name), super::full_limits()); })*
        }
        const LISTED: &[&str] = &[$(stringify!($name)),*];
    };
}

families! {
    unary binary compare select cast matmul reduce arg_reduce softmax cross_entropy permute slice
    concatenate pad gather flip conv2d conv2d_input_grad conv2d_weight_grad max_pool2d
    max_pool2d_grad avg_pool2d avg_pool2d_grad lrn lrn_grad dropout uniform normal fill
    sgd_momentum transfer bad_operands same_bits_twice
}

#[test]
fn every_family_is_listed() {
    let families: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(families, LISTED);
}
