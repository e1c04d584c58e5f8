//! Every pipeline that an op may ask for goes through naga to SPIR-V, MSL and HLSL: Metal and DX12
//! get the same checks as the Vulkan that the other tests run on.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use naga::back::{hlsl, msl, pipeline_constants, spv};
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use striate_ops_wgsl::{Specialisation, specialisations};

fn module(shader: &Specialisation) -> (naga::Module, ModuleInfo) {
    let module = naga::front::wgsl::parse_str(shader.source)
        .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(shader.source, shader.shader)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {e:?}", shader.shader));
    (module, info)
}

/// With the constants in their places, as a driver gets it.
fn specialised(
    module: &naga::Module,
    info: &ModuleInfo,
    shader: &Specialisation,
) -> (naga::Module, ModuleInfo) {
    let constants: naga::back::PipelineConstants =
        shader.constants.iter().map(|&(name, value)| (name.to_string(), value)).collect();
    let stage = Some((naga::ShaderStage::Compute, "main"));
    let (module, info) = pipeline_constants::process_overrides(module, info, stage, &constants)
        .unwrap_or_else(|e| panic!("{} {:?}: {e:?}", shader.shader, shader.constants));
    (module.into_owned(), info.into_owned())
}

/// Runs `visit` on every specialisation, parsing each shader once.
fn each(mut visit: impl FnMut(&Specialisation, &naga::Module, &ModuleInfo)) {
    let all = specialisations();
    assert!(!all.is_empty());
    let mut parsed: Option<(&str, naga::Module, ModuleInfo)> = None;
    for shader in &all {
        let (_, module, info) = match &parsed {
            Some(known) if std::ptr::eq(known.0, shader.source) => known,
            _ => {
                let (module, info) = module(shader);
                parsed.insert((shader.source, module, info))
            }
        };
        let (module, info) = specialised(module, info, shader);
        visit(shader, &module, &info);
    }
}

#[test]
fn every_shader_becomes_spirv_that_the_validator_takes() {
    let validator = Command::new("spirv-val").arg("--version").output().is_ok();
    if !validator {
        // SPIR-V is made all the same, but nobody has validated it.
        assert!(
            !common::required(),
            "STRIATE_REQUIRE_GPU is set, and there is no spirv-val (spirv-tools)"
        );
    }
    each(|shader, module, info| {
        let options = spv::Options { lang_version: (1, 3), ..Default::default() };
        let pipeline = spv::PipelineOptions {
            shader_stage: naga::ShaderStage::Compute,
            entry_point: "main".into(),
        };
        let words = spv::write_vec(module, info, &options, Some(&pipeline))
            .unwrap_or_else(|e| panic!("{} {:?}: {e}", shader.shader, shader.constants));
        if validator {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut run = Command::new("spirv-val")
                .args(["--target-env", "vulkan1.1"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            run.stdin.take().unwrap().write_all(&bytes).unwrap();
            let output = run.wait_with_output().unwrap();
            let message = String::from_utf8_lossy(&output.stderr).into_owned()
                + &String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{} {:?}: {message}", shader.shader, shader.constants);
        }
    });
}

#[test]
fn every_shader_becomes_metal_source() {
    each(|shader, module, info| {
        let options = msl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = msl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, "main".into())),
            ..Default::default()
        };
        let (source, _) = msl::write_string(module, info, &options, &pipeline)
            .unwrap_or_else(|e| panic!("{} {:?}: {e}", shader.shader, shader.constants));
        assert!(source.contains("kernel void"), "{}", shader.shader);
    });
}

#[test]
fn every_shader_becomes_hlsl_source() {
    each(|shader, module, info| {
        let options = hlsl::Options { fake_missing_bindings: true, ..Default::default() };
        let pipeline = hlsl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, "main".into())),
        };
        let mut source = String::new();
        hlsl::Writer::new(&mut source, &options, &pipeline)
            .write(module, info, None)
            .unwrap_or_else(|e| panic!("{} {:?}: {e}", shader.shader, shader.constants));
        assert!(source.contains("numthreads"), "{}", shader.shader);
    });
}
