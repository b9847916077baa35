#!/usr/bin/env bash
# The loom models: every crates/*/tests/loom_*.rs, with at most two preemptions. Arguments go to cargo test.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom   # other flags, another folder
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16   # a model is built more often than it runs
models=()
for file in crates/*/tests/loom_*.rs; do
  [[ -e $file ]] && models+=(--test "$(basename "$file" .rs)")
done
(( ${#models[@]} )) || { echo "no loom models" >&2; exit 1; }
exec cargo test --release --package procession-core --package procession-shm --package procession-sys "${models[@]}" "$@"
