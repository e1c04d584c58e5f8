//! How long the tasks of each loop take, to work out what more threads than this machine has would do with
//! them. Only there with the feature `task-times`.
//!
//! Loops are cut by the shape alone, so that one thread runs the very tasks that sixteen would share.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use striate_tensor::TensorType;

/// An op that was executed, or a chain of them that was executed in one pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpTimes {
    /// The op's name; `chain` for several.
    pub name: &'static str,
    /// What it computes; none for a chain.
    pub output: Option<TensorType>,
    /// How long it took, loops and what stands between them.
    pub total: Duration,
    /// The times of the tasks of each of its loops, in the order of the tasks.
    pub loops: Vec<Vec<Duration>>,
}

#[derive(Default)]
struct Recording {
    ops: Vec<OpTimes>,
    /// The op under way.
    is_in_op: bool,
    /// Whether a task is under way: what it shares in turn, it does by itself.
    is_in_task: bool,
}

thread_local! {
    static RECORDING: RefCell<Option<Recording>> = const { RefCell::new(None) };
}

fn with<T>(f: impl FnOnce(&mut Recording) -> T) -> Option<T> {
    RECORDING.with_borrow_mut(|recording| recording.as_mut().map(f))
}

/// Calls `run`, and notes the tasks of ops that a device of one thread executes in it on this thread.
pub fn record<T>(run: impl FnOnce() -> T) -> (T, Vec<OpTimes>) {
    RECORDING.set(Some(Recording::default()));
    let result = run();
    (result, RECORDING.take().unwrap_or_default().ops)
}

/// Calls `execute`, which is an op of its own unless it is a part of another.
pub(crate) fn op<T>(
    name: &'static str,
    output: Option<&TensorType>,
    execute: impl FnOnce() -> T,
) -> T {
    let is_outermost = with(|recording| {
        let op = OpTimes { name, output: output.copied(), total: Duration::ZERO, loops: vec![] };
        let is_outermost = !std::mem::replace(&mut recording.is_in_op, true);
        if is_outermost {
            recording.ops.push(op);
        }
        is_outermost
    });
    let begin = Instant::now();
    let result = execute();
    let total = begin.elapsed();
    if is_outermost == Some(true) {
        with(|recording| {
            recording.is_in_op = false;
            if let Some(op) = recording.ops.last_mut() {
                op.total = total;
            }
        });
    }
    result
}

/// Calls `task` with each of `0..tasks`, on this thread.
pub(crate) fn each(tasks: usize, task: impl Fn(usize)) {
    let begin = |recording: &mut Recording| {
        recording.is_in_op && !std::mem::replace(&mut recording.is_in_task, true)
    };
    if with(begin) != Some(true) {
        return (0..tasks).for_each(task);
    }
    let mut times = Vec::with_capacity(tasks);
    for index in 0..tasks {
        let begin = Instant::now();
        task(index);
        times.push(begin.elapsed());
    }
    with(|recording| {
        recording.is_in_task = false;
        if let Some(op) = recording.ops.last_mut() {
            op.loops.push(times);
        }
    });
}

/// How long a loop takes on so many threads that share it as this crate's do: each begins with its own
/// run of the tasks, and who is done takes from the others'. Waking threads takes no time here, and
/// tasks that run side by side do not slow each other.
pub fn makespan(tasks: &[Duration], threads: usize) -> Duration {
    let threads = threads.max(1);
    let start = |thread: usize| thread * tasks.len() / threads;
    let mut next: Vec<usize> = (0..threads).map(start).collect();
    let mut clocks = vec![Duration::ZERO; threads];
    let mut end = Duration::ZERO;
    // Of the threads that work on, the one that is free first takes the next task.
    let mut working: Vec<usize> = (0..threads).collect();
    while let Some((place, &thread)) =
        working.iter().enumerate().min_by_key(|&(_, &thread)| clocks[thread])
    {
        let owners = (0..threads).map(|other| (thread + other) % threads);
        match owners.into_iter().find(|&owner| next[owner] < start(owner + 1)) {
            Some(owner) => {
                clocks[thread] += tasks[next[owner]];
                next[owner] += 1;
            }
            None => {
                end = end.max(clocks[thread]);
                working.swap_remove(place);
            }
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use striate_tensor::{Device, Tensor};

    use super::*;
    use crate::Cpu;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn tasks_are_shared_as_the_threads_share_them() {
        for (tasks, threads, expected) in [
            (&[][..], 4, 0),
            (&[3, 1, 2], 1, 6),
            (&[3, 1, 2], 2, 3),
            (&[3, 1, 2], 8, 3),
            // The second thread has done its own two before the first has begun its second.
            (&[5, 1, 1, 1], 2, 5),
            (&[1, 1, 1, 1, 1], 2, 3),
            (&[2, 2, 2, 2], 0, 8),
        ] {
            let tasks: Vec<_> = tasks.iter().map(|&n| n * MS).collect();
            assert_eq!(makespan(&tasks, threads), expected * MS, "{tasks:?} on {threads}");
        }
    }

    #[test]
    fn every_loop_of_an_op_is_noted_under_it() {
        let device = Device::new(Cpu::new(Some(1)).unwrap());
        let x = Tensor::zeros([1 << 20], &device).unwrap();
        let (y, ops) = record(|| x.relu().and_then(|y| y.exp()).unwrap());
        assert_eq!(ops.len(), 2);
        for op in &ops {
            assert_eq!(op.output, Some(*y.ty()));
            let [tasks] = &op.loops[..] else { panic!("{op:?}") };
            assert!(tasks.len() > 1 && tasks.iter().sum::<Duration>() <= op.total, "{op:?}");
        }
        // Nothing is noted afterwards.
        y.relu().unwrap();
        assert_eq!(record(|| ()).1, []);
    }
}
