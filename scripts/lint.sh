#!/usr/bin/env bash
# Formatting, lints and layers of both languages; whether the planted bugs still fit; licences, bans and sources of the crates.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo fmt --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
cargo clippy --quiet --workspace --all-targets --features procession-py/crash-points -- -D warnings
ruff check --quiet
ruff format --check --quiet
lint-imports
python scripts/mutants.py --check
cargo deny --log-level error check --hide-inclusion-graph licenses bans sources
