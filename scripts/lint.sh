#!/usr/bin/env bash
# Formatting, lints and layers of both languages; licences and bans where cargo-deny is installed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo fmt --check
cargo clippy --quiet --workspace --all-targets -- -D warnings
cargo clippy --quiet --workspace --all-targets --features procession-py/crash-points -- -D warnings
ruff check --quiet
ruff format --check --quiet
lint-imports
if command -v cargo-deny >/dev/null; then
  cargo deny --offline check --hide-inclusion-graph licenses bans sources
else
  echo "cargo-deny is not installed (cargo install cargo-deny): licences and bans unchecked" >&2
fi
