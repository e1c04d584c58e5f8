//! The devices and processes that a command is spread over.

use std::num::NonZeroUsize;
#[cfg(feature = "mpi")]
use std::time::Duration;

use clap::Args;
use striate::tensor::Device;
use striate::train::parallel::{Exchange, Launch, Local};

use crate::args::Global;
use crate::error::{Error, Result};

/// Where to compute, in several places at once.
#[derive(Debug, Args)]
#[command(next_help_heading = "Many devices")]
pub(crate) struct RankArgs {
    /// Compute on these devices together, named as for --device: `gpu:0,gpu:1`, `gpu,cpu`,
    /// `cpu,cpu`. Under mpirun each process takes one of them, by its number on its machine.
    #[arg(long, value_name = "DEVICE,…", value_delimiter = ',', conflicts_with = "device")]
    pub(crate) devices: Vec<String>,
    /// Under mpirun: take a process for lost after so many seconds of silence.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(2..=86_400))]
    #[cfg_attr(not(feature = "mpi"), allow(dead_code))]
    timeout: u64,
}

/// One of those that compute together.
pub(crate) struct Rank {
    /// What connects it with the others.
    pub(crate) exchange: Exchange,
    device: String,
    threads: Option<NonZeroUsize>,
}

impl Rank {
    /// The device of this rank.
    pub(crate) fn device(&self, global: &Global) -> Result<Device> {
        let own = Global { device: self.device.clone(), threads: self.threads, ..global.clone() };
        own.device()
    }
}

impl RankArgs {
    /// The ranks of this process: none where it computes on one device alone and nobody says
    /// otherwise, several for several devices, one under mpirun.
    pub(crate) fn start(&self, global: &Global, wanted: bool) -> Result<Vec<Rank>> {
        for device in &self.devices {
            crate::args::check_device("--devices", device)?;
        }
        let launch = Launch::from_environment().filter(|launch| launch.size > 1);
        if let Some(launch) = launch {
            return Ok(vec![self.start_mpi(global, &launch)?]);
        }
        let devices = match &self.devices[..] {
            [] if wanted => vec![global.device.clone()],
            devices => devices.to_vec(),
        };
        let on_cpu = devices.iter().filter(|device| is_cpu(device)).count();
        let threads = share(global.threads, on_cpu);
        let rank = |(local, device): (Local, String)| {
            let threads = if is_cpu(&device) { threads } else { global.threads };
            Ok(Rank { exchange: Exchange::new(local)?, device, threads })
        };
        if devices.is_empty() {
            return Ok(Vec::new());
        }
        Local::group(devices.len()).into_iter().zip(devices).map(rank).collect()
    }

    #[cfg(feature = "mpi")]
    fn start_mpi(&self, global: &Global, launch: &Launch) -> Result<Rank> {
        use striate::train::parallel::Mpi;

        let exchange = Mpi::start(Duration::from_secs(self.timeout))?;
        let device = match &self.devices[..] {
            [] => global.device.clone(),
            devices => devices[launch.local_rank % devices.len()].clone(),
        };
        log::info!("rank {} of {}, on {device}", exchange.rank(), exchange.size());
        Ok(Rank { exchange, device, threads: share(global.threads, launch.local_size) })
    }

    #[cfg(not(feature = "mpi"))]
    fn start_mpi(&self, _: &Global, launch: &Launch) -> Result<Rank> {
        Err(Error::message(format!(
            "mpirun has started {} processes, and this program was built without MPI: build it \
             with `--features mpi`",
            launch.size
        )))
    }
}

fn is_cpu(device: &str) -> bool {
    matches!(device, "cpu" | "auto")
}

/// Threads of one of so many that share the processors of this machine. Where nothing is said and
/// there is only one, the backend decides.
fn share(threads: Option<NonZeroUsize>, sharers: usize) -> Option<NonZeroUsize> {
    if sharers <= 1 {
        return threads;
    }
    let all = threads.or_else(|| std::thread::available_parallelism().ok())?;
    NonZeroUsize::new((all.get() / sharers).max(1))
}

/// Picks the root cause among the errors of several ranks.
pub(crate) fn first_cause(results: Vec<Result<()>>) -> Result<()> {
    let mut lost = Ok(());
    for result in results {
        match result {
            Err(error) if is_lost(&error) => lost = lost.and(Err(error)),
            Err(error) => return Err(error),
            Ok(()) => {}
        }
    }
    lost
}

/// Whether it only says that another rank failed.
fn is_lost(error: &Error) -> bool {
    let Error::Striate(error) = error else { return false };
    matches!(**error, striate::Error::Train(striate::train::Error::Rank { .. }))
}
