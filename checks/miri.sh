#!/usr/bin/env bash
# Miri over what it can run: the unit tests of the tensors and of the CPU backend in portable code. It has
# neither vector instructions nor sqlite nor mapped files. Arguments go to cargo miri test.
#
# Needs a nightly compiler with Miri (rustup +nightly component add miri). Expect it to take hours.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo +nightly miri --version >/dev/null 2>&1 ||
  { echo "$0: Miri is not installed: rustup +nightly component add miri" >&2; exit 1; }
export STRIATE_SIMD=portable CONFORMANCE_CASES=1 PROPTEST_CASES=2
# Tests write files and ask for the time.
export MIRIFLAGS="-Zmiri-disable-isolation ${MIRIFLAGS:-}"
exec cargo +nightly miri test --locked --target-dir target/miri -p striate-tensor -p striate-ops-cpu --lib "$@"
