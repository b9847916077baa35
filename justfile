# One door to everything. `./dev run just` inside a fresh clone; plain `just` inside the environment.
set shell := ["bash", "-euo", "pipefail", "-c"]

_list:
    @just --list --unsorted

# Everything that must hold before a change goes in
check: lint types test loom

# Build into the environment
build:
    @./dev setup

# The crates' tests and the package's
test *ARGS:
    ./dev test {{ARGS}}

# One body, both implementations
parity *ARGS:
    pytest -q tests/parity {{ARGS}}

unit *ARGS:
    pytest -q tests/unit {{ARGS}}

# CPython's own tests, under every start method, on 3.11 and 3.13
conformance *ARGS:
    scripts/conformance.sh {{ARGS}}

# Programs of others, under python and under procession run: docs/programs.md
programs *ARGS:
    scripts/programs.sh {{ARGS}}

# Every interleaving, by loom
loom *ARGS:
    scripts/loom.sh {{ARGS}}

# Kill after every instruction and at every crash point
crash *ARGS:
    scripts/crash.sh {{ARGS}}

# Random kills for SECONDS
chaos SECONDS="20" *ARGS:
    python tests/stress/chaos.py {{SECONDS}} {{ARGS}}

# Workers shot at random among so many TASKS of a pool
soak TASKS="100000" *ARGS:
    python tests/stress/soak.py {{TASKS}} {{ARGS}}

# Planted bugs must be found
mutants *ARGS:
    python scripts/mutants.py {{ARGS}}

# docs/benchmarks.md
bench *ARGS:
    scripts/bench.sh {{ARGS}}

# The crates' documentation
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace --exclude procession-py

lint:
    scripts/lint.sh

types:
    mypy
    python -m mypy.stubtest procession._native --ignore-disjoint-bases --ignore-unused-allowlist --allowlist scripts/stubtest.allow

fmt:
    cargo fmt
    ruff check --fix-only --quiet
    ruff format
