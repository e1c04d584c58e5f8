#!/usr/bin/env bash
# That no vector instruction was compiled to a function of its own: a closure in a kernel may be, without the
# kernel's instructions, and each of its operations is a call then. Symbols tell, so the profile is `profiling`.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --profile profiling -p striate-cli --no-default-features
program=${CARGO_TARGET_DIR:-target}/profiling/striate
alone=$(nm -C "$program" | grep -E 'core_arch::.*::(_mm[0-9]*_|v[a-z0-9]+_f(16|32|64))' || true)
if [ -n "$alone" ]; then
  printf 'compiled by themselves:\n%s\n' "$alone"
  exit 1
fi
echo 'All vector instructions are part of kernels.'
