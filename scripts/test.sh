#!/usr/bin/env bash
# The crates' tests, then the package's. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if (( $# == 0 )); then cargo test --quiet --workspace --exclude procession-py; fi
exec python -m pytest -q "$@"
