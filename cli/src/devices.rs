//! `striate devices`.

use std::collections::BTreeMap;

use serde::Serialize;
use striate::tensor::{Device, DeviceInfo, DeviceKind};
use striate::{DeviceByName, DeviceOptions};

use crate::args::{Format, Global};
use crate::error::{Error, Result, chain};
use crate::output::{self, Output};

/// A device as a line of JSON.
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    kind: &'static str,
    description: &'a str,
    properties: BTreeMap<&'a str, &'a str>,
}

/// Prints the devices, the best first.
pub(crate) fn run(global: &Global, output: &mut Output) -> Result<()> {
    // Asked one by one, so that `--threads` shows as it would take effect.
    let options = global.device_options();
    let mut devices = vec![];
    let gpu = gpus(&options, &mut devices);
    devices.push(Device::by_name("cpu", &options)?.info());

    if output.format() == Format::Json {
        for info in &devices {
            let properties = info.properties.iter().map(|(k, v)| (k.as_str(), v.as_str()));
            output.json(&Row {
                name: &info.name,
                kind: kind(info.kind),
                description: &info.description,
                properties: properties.collect(),
            })?;
        }
        return Ok(());
    }

    let mut table = output::table(&["device", "kind", "description"], &[]);
    for info in &devices {
        table.add_row([info.name.as_str(), kind(info.kind), &info.description]);
        for (name, value) in &info.properties {
            table.add_row(["", &format!("  {name}"), value]);
        }
    }
    if let Err(error) = gpu {
        table.add_row(["gpu", "none", &chain(&error)]);
    }
    output.table(&table)
}

/// GPUs from number 0 on, until there is none of that number; an error where there is not even one.
fn gpus(options: &DeviceOptions, devices: &mut Vec<DeviceInfo>) -> Result<()> {
    for number in 0.. {
        match Device::by_name(&format!("gpu:{number}"), options) {
            Ok(device) => devices.push(device.info()),
            Err(error) if number == 0 => return Err(Error::from(error)),
            Err(_) => break,
        }
    }
    Ok(())
}

fn kind(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Reference => "reference",
        DeviceKind::Cpu => "cpu",
        DeviceKind::DiscreteGpu => "discrete-gpu",
        DeviceKind::IntegratedGpu => "integrated-gpu",
        DeviceKind::SoftwareGpu => "software-gpu",
        _ => "other",
    }
}
