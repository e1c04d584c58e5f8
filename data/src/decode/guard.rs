//! Keeps the panics of other people's decoders from the terminal.
//!
//! A decoder that panics on a damaged file must neither take down a run over a list of pictures nor
//! print a report and a backtrace between the results. Catching the panic is not enough: the
//! process's panic hook has printed by then. So a hook is put in front of the one that is there,
//! once; it is silent on a thread that is inside [`run`], and hands every other panic on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// How many guards this thread is inside of.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

static HOOK: Once = Once::new();

/// Runs `work`. A panic in it is caught, and is not reported by the panic hook; its message is the
/// error.
///
/// A program that sets its own hook after the first call replaces the silence with that.
pub(super) fn run<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // While this thread unwinds, hooks cannot be exchanged.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let before = take_hook();
            set_hook(Box::new(move |panic| {
                // No thread-local values are left while a thread ends: then it is not inside.
                if DEPTH.try_with(Cell::get).unwrap_or(0) == 0 {
                    before(panic);
                }
            }));
        });
    }
    DEPTH.with(|depth| depth.set(depth.get() + 1));
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.with(|depth| depth.set(depth.get() - 1));
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("no message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_or_the_message_comes_out() {
        assert_eq!(run(|| 7), Ok(7));
        assert_eq!(run(|| -> u8 { panic!("at {}", 5) }), Err("at 5".to_owned()));
        assert_eq!(run(|| run(|| -> u8 { panic!("inner") })), Ok(Err("inner".to_owned())));
    }

    /// The hook that the guard stands in front of is told of panics outside the guard, and of none
    /// inside. The check runs in a process of its own: the hook belongs to the process.
    #[test]
    fn panics_are_silent_inside_and_reported_outside() {
        const CHILD: &str = "STRIATE_TEST_GUARD_CHILD";
        if std::env::var_os(CHILD).is_some() {
            let _ = run(|| panic!("a decoder's"));
            let _ = std::thread::spawn(|| panic!("a bug of ours")).join();
            let _ = catch_unwind(|| panic!("after the guard"));
            return;
        }
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["panics_are_silent_inside_and_reported_outside", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        assert!(!text.contains("a decoder's"), "{text}");
        assert!(text.contains("a bug of ours") && text.contains("after the guard"), "{text}");
    }
}
