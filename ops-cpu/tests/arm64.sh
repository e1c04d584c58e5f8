#!/usr/bin/env bash
# The CPU backend's tests for 64-bit Arm, under emulation: portable vectors and NEON.
#
# Needs the Rust target (rustup target add aarch64-unknown-linux-gnu), a linker and an emulator
# (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user). Takes some 20 minutes. Arguments go
# to cargo test: `-- a_block_is_transposed`.
set -euo pipefail
cd "$(dirname "$0")/../.."

for program in aarch64-linux-gnu-gcc qemu-aarch64; do
  command -v "$program" >/dev/null || { echo "$0: $program is not installed" >&2; exit 1; }
done
export CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER='qemu-aarch64 -L /usr/aarch64-linux-gnu'
# Unoptimised, the emulated tests would take hours.
exec cargo test --locked --release --target aarch64-unknown-linux-gnu -p striate-ops-cpu "$@"
