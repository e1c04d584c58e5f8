#!/usr/bin/env bash
# Makes the pictures of the README anew: pictures/make.sh [FOLDER]
#
# STRIATE is the program [striate].
set -euo pipefail
cd "$(dirname "$0")/.."

out=${1:-pictures}
striate=${STRIATE:-striate}
"$striate" classify samples/cat.png --device cpu --draw "$out/cat-ranks.png"
"$striate" visualize photos --device cpu --image samples/cat.png --occlusion -o "$out/cat-heat.png"
