//! `striate bench`.
use clap::Args;
use crate::args::Global; use crate::error::Result; use crate::output::Output;
/// x
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {}
pub(crate) fn run(_: &BenchArgs, _: &Global, _: &mut Output) -> Result<()> { Ok(()) }
