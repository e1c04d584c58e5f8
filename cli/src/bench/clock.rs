//! What times are taken by, and what a graphics processor was asked to do in them.

use std::time::{Duration, Instant};

#[cfg(feature = "gpu")]
use striate::ops_wgsl::{Clock as GpuClock, Profile, Timing, Wgpu};

use crate::device::Opened;
use crate::error::Result;

/// A clock: the GPU's own where it has one, else the host's.
pub(super) struct Clock {
    #[cfg(feature = "gpu")]
    gpu: Option<Wgpu>,
}

impl Clock {
    /// The host's.
    #[cfg(any(test, not(feature = "gpu")))]
    pub(super) fn wall() -> Self {
        Clock {
            #[cfg(feature = "gpu")]
            gpu: None,
        }
    }
}

/// How long a run took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Time {
    /// By the clock.
    pub(super) measured: Duration,
    /// From the first call until all of it was done, by the host's clock.
    pub(super) wall: Duration,
}

/// What a run asked of a graphics processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) submissions: u64,
    pub(super) dispatches: u64,
    /// How often the host waited for it.
    pub(super) waits: u64,
    /// Buffers that the driver was asked for.
    pub(super) allocations: u64,
    pub(super) bytes_uploaded: u64,
    /// Operands of all dispatches.
    pub(super) bytes_bound: u64,
    /// Operands of all dispatches, and copies.
    pub(super) bytes_moved: u64,
}

#[cfg(feature = "gpu")]
impl Clock {
    /// That of a device.
    pub(super) fn of(opened: &Opened) -> Self {
        Clock { gpu: opened.gpu.clone() }
    }

    /// `gpu` or `wall`.
    pub(super) fn name(&self) -> &'static str {
        match self.timestamps() {
            Some(_) => "gpu",
            None => "wall",
        }
    }

    fn timestamps(&self) -> Option<&Wgpu> {
        self.gpu.as_ref().filter(|gpu| gpu.clock() == GpuClock::Gpu)
    }

    /// Times a run, which ends when all of it is done.
    pub(super) fn time(&self, run: impl FnOnce() -> Result<()>) -> Result<Time> {
        let before = self.timestamps().map(|gpu| (gpu, gpu.profile()));
        let started = Instant::now();
        run()?;
        let wall = started.elapsed();
        let on_gpu = |(gpu, before): (&Wgpu, Profile)| {
            Duration::from_nanos(gpu.profile().since(&before).nanoseconds() as u64)
        };
        Ok(Time { measured: before.map_or(wall, on_gpu), wall })
    }

    /// What a run asks of the graphics processor, where it is one.
    pub(super) fn traffic(&self, run: impl FnOnce() -> Result<()>) -> Result<Option<Traffic>> {
        let Some(gpu) = &self.gpu else { return Ok(None) };
        let before = gpu.profile();
        run()?;
        let profile = gpu.profile().since(&before);
        let mut timings = profile.timings.clone();
        timings.retain(|timing| timing.dispatches > 0);
        timings.sort_by(|a, b| b.nanoseconds.total_cmp(&a.nanoseconds));
        for Timing { op, dispatches, nanoseconds } in timings {
            log::info!("{op}: {:.3} ms in {dispatches} dispatches", nanoseconds / 1e6);
        }
        Ok(Some(Traffic {
            submissions: profile.submissions,
            dispatches: profile.dispatches,
            waits: profile.waits,
            allocations: profile.allocations,
            bytes_uploaded: profile.bytes_uploaded,
            bytes_bound: profile.bytes_bound,
            bytes_moved: profile.bytes_bound
                + profile.bytes_copied
                + profile.bytes_uploaded
                + profile.bytes_downloaded,
        }))
    }
}

#[cfg(not(feature = "gpu"))]
impl Clock {
    /// That of a device.
    pub(super) fn of(_: &Opened) -> Self {
        Clock::wall()
    }

    /// `wall`
    pub(super) fn name(&self) -> &'static str {
        "wall"
    }

    /// Times a run, which ends when all of it is done.
    pub(super) fn time(&self, run: impl FnOnce() -> Result<()>) -> Result<Time> {
        let started = Instant::now();
        run()?;
        let wall = started.elapsed();
        Ok(Time { measured: wall, wall })
    }

    /// Nothing is asked of a graphics processor.
    pub(super) fn traffic(&self, _: impl FnOnce() -> Result<()>) -> Result<Option<Traffic>> {
        Ok(None)
    }
}
