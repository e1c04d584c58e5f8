//! Passes on random graphs, on the devices that networks run on: what comes out is what came out before.
//!
//! Without a graphics processor that test says so and passes; with `STRIATE_REQUIRE_GPU=1` it fails.

#![allow(clippy::unwrap_used, reason = "a test that unwraps says where it failed")]

#[path = "../graph/tests/common/mod.rs"]
mod common;

use common::check::{check_all, check_gradients};
use common::{build, recipes};
use proptest::prelude::*;
use proptest::test_runner::{FileFailurePersistence, TestRunner};
use striate::prelude::*;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        source_file: Some(file!()),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    }
}

fn check_device(device: &Device, cases: u32) {
    let every_pass = |recipe| {
        let built = build(&recipe, device);
        check_all(&built)?;
        check_gradients(&built)
    };
    TestRunner::new(config(cases)).run(&recipes(), every_pass).unwrap();
}

#[test]
fn passes_keep_what_a_graph_computes_on_the_cpu() {
    check_device(&Device::cpu(Some(2)).unwrap(), 200);
}

#[test]
fn passes_keep_what_a_graph_computes_on_the_gpu() {
    match Device::by_name("gpu", &DeviceOptions::default()) {
        Ok(gpu) => check_device(&gpu, 20),
        Err(error) => {
            let required = std::env::var_os("STRIATE_REQUIRE_GPU").is_some_and(|v| v == "1");
            assert!(!required, "STRIATE_REQUIRE_GPU is set, and {error}");
            println!("skipped: {error}");
        }
    }
}
