#!/usr/bin/env bash
# AddressSanitizer over the code that holds `unsafe`: the kernels at every instruction level that this
# processor has, and the model files. Arguments go to cargo test: checks/address.sh -- --skip winograd
#
# Needs a nightly compiler (rustup toolchain install nightly). CONFORMANCE_CASES (8) is the number of
# random cases of each op. The kernels' scratch memory is a pool, within which an access beyond a buffer
# is not seen.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc +nightly -vV | sed -n 's/^host: //p')
export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}" CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target/address}
# Optimising sqlite under the sanitizer takes a C compiler minutes.
export CFLAGS="-O1 -g0 ${CFLAGS:-}"
export CONFORMANCE_CASES=${CONFORMANCE_CASES:-8} PROPTEST_CASES=${PROPTEST_CASES:-16}
# Thread pools live as long as the program: they are no leak.
# One test asks for more memory than there is, which must be an error.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:${ASAN_OPTIONS:-}
# With --target, build scripts and procedural macros are built without the sanitizer. Documentation
# tests are left out: they hold nothing that these do not.
exec cargo +nightly test --locked --target "$host" -p striate-ops-cpu -p striate-importers --lib --tests "$@"
