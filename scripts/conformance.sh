#!/usr/bin/env bash
# CPython's own tests of what procession implements so far, under every start method, on 3.11 and 3.13 where present
# (PYTHONS="..." overrides). Arguments go to the gate: tests/conformance/gate.py, as --start-method spawn.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
status=0
for python in $(interpreters); do
  # A failure of one must not hide what the other says; and `set -e` sleeps on the left of ||.
  bash -euo pipefail -c 'source scripts/environment.sh; PYTHON=$1; shift; setup; python tests/conformance/gate.py "$@"' \
    conformance "$python" "$@" || status=1
done
exit "$status"
