#!/usr/bin/env bash
# What a graphics card is asked in a quarter of an hour: that every op is right on it, how fast networks
# run and train, and what tuning gains.
#
#     checks/gpu.sh [FOLDER]        results go there [target/gpu]
#
# DEVICE (gpu) as in `striate --device`; NETWORKS ("alexnet:128 vgg-d:32 resnet50:64 mobilenet_v2:64") are
# names and batches. On a machine without Rust, STRIATE and CONFORMANCE name the two programs, built
# elsewhere by
#     cargo build --release -p striate-cli
#     cargo test --release -p striate-ops-wgsl --test conformance --no-run
# Where python3 has torch and torchvision, the same networks run there beside, in plain f32.
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-target/gpu}
device=${DEVICE:-gpu}
networks=${NETWORKS:-alexnet:128 vgg-d:32 resnet50:64 mobilenet_v2:64}
mkdir -p "$out"
if [ -z "${STRIATE:-}" ]; then
  cargo build --locked --release -p striate-cli
  STRIATE=target/release/striate
fi
if [ -z "${CONFORMANCE:-}" ]; then
  CONFORMANCE=$(cargo test --locked --release -p striate-ops-wgsl --test conformance --no-run 2>&1 |
    tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
fi
# What is tuned and compiled here stays here.
XDG_CACHE_HOME=$(realpath "$out")/cache
export XDG_CACHE_HOME
failed=0

step() { printf '\n== %s (%ss)\n' "$1" "$SECONDS"; }

# Runs a command for so many seconds at most; what fails is told at the end and holds up nothing.
try() {
  local seconds=$1
  shift
  timeout "$seconds" "$@" || { echo "failed (exit status $?): $*" >&2; failed=1; }
}

bench() {
  local name batch
  for pair in $networks; do
    IFS=: read -r name batch <<<"$pair"
    for pass in forward step; do
      try 60 "$STRIATE" bench "$name" --batch "$batch" --pass "$pass" --device "$device" --repeat 10 --format json
    done
  done
}

step 'the device'
try 60 "$STRIATE" devices -v | tee "$out/devices.txt"

step 'conformance'
# Every op beside its reference, at default and at full limits.
STRIATE_REQUIRE_GPU=1 try 300 "$CONFORMANCE" >"$out/conformance.txt" 2>&1
tail -3 "$out/conformance.txt"

step 'networks'
bench | tee "$out/bench.jsonl"

step 'tuning'
for pair in $networks; do
  IFS=: read -r name batch <<<"$pair"
  try 60 "$STRIATE" tune "$name" --batch "$batch" --device "$device"
done 2>&1 | tee "$out/tune.txt"

step 'networks, tuned'
bench | tee "$out/bench-tuned.jsonl"

step 'PyTorch'
if python3 -c 'import torch, torchvision; assert torch.cuda.is_available()' 2>/dev/null; then
  for pair in $networks; do
    IFS=: read -r name batch <<<"$pair"
    try 60 python3 checks/gpu_torch.py "$name" "$batch"
  done | tee "$out/torch.jsonl"
else
  echo 'skipped: no torch with torchvision and a device for it'
fi

step 'the same in a table'
awk -F'"' '/"name"/ {
  split("", v); n = split($0, field, /[,{}]/)
  for (i = 1; i <= n; i++) { split(field[i], kv, ":"); gsub(/"/, "", kv[1]); gsub(/"/, "", kv[2]); v[kv[1]] = kv[2] }
  printf "%-28s %-14s %4s %-8s %9s ms %8s GFLOP/s\n", FILENAME, v["name"], v["batch"], v["pass"], v["min_ms"], v["gflops"]
}' "$out"/*.jsonl
step 'done'
exit "$failed"
