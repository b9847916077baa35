#!/usr/bin/env bash
# CPython's own tests of what procession implements so far, under every start method, on 3.11 and 3.13 where present
# (PYTHONS="..." overrides). Arguments go to the gate: tests/conformance/gate.py, as --start-method spawn.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
for python in $(interpreters); do
  ( PYTHON=$python; setup; python tests/conformance/gate.py "$@" )
done
