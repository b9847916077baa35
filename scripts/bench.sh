#!/usr/bin/env bash
# The benchmarks on each interpreter, then docs/benchmarks.md. Arguments go to benchmarks/run.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
results=()
for python in $(interpreters); do
  results+=("$(mktemp)" "$(mktemp)")
  ( PYTHON=$python; setup
    python -m compileall -q python/procession  # as installers do; the environment may forbid it to python itself
    python benchmarks/run.py --json "${results[-2]}" "$@"
    python benchmarks/orphans.py --json "${results[-1]}" )
done
python3 benchmarks/report.py "${results[@]}" >docs/benchmarks.md
rm -f "${results[@]}"
