#!/usr/bin/env bash
# The crash tests in full: the crates' crash points and double faults, single steps of the shipped library, then crash points and double faults in a build that has
# them (an environment of its own). `--stride N` kills after every N-th instruction only, and tries every N-th double fault of queues.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stride=1
[[ ${1:-} != --stride ]] || stride=$2
CRASH_STRIDE=$stride cargo test --quiet --package procession-core --features crash-points --test crash --test container_crash
source scripts/environment.sh
setup
python -m pytest -q -s tests/crash --stride 1 "$@"
PYTHON=$PYTHON VENV=$VENV-crash FEATURES=crash-points
setup
python -m pytest -q -s tests/crash -m crash_points "$@"
