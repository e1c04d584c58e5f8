#!/usr/bin/env bash
# Makes the pictures of the README and the book anew: book/pictures.sh [FOLDER]
#
# STRIATE is the program [striate]. Needs Perl for the samples of the training.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$(realpath "${1:-book/src/pictures}")
striate=${STRIATE:-striate}
root=$PWD
"$striate" classify samples/cat.png --device cpu --draw "$out/cat-ranks.png"
"$striate" visualize photos --device cpu --image samples/cat.png --occlusion -o "$out/cat-heat.png"

# The training of the book's tour, for longer.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
perl "$root/examples/digits/segments.pl" 500 100
"$striate" train --device cpu --spec "$root/examples/digits/lenet.json" --train-list train-images-idx3-ubyte \
  --test-list test-images-idx3-ubyte --working digits.safetensors --optimizer adam --mini-batch 20 --max-epoch 6
"$striate" plot digits.safetensors -o "$out/digits-curve.png"
