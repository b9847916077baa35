# Sourced by ./dev, by scripts/* and by .ci/run: finds the interpreter, makes its environment, builds into it.
# PYTHON   the interpreter (default python3)        VENV      the environment (default .venv, or .venv-X.Y with PYTHON)
# FEATURES cargo features, for builds with crash points

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }
die() { printf '%s\n' "$*" >&2; exit 1; }

# Several interpreters build in turn: a target folder for each, or every switch would compile PyO3 again.
choose_interpreter() {
  local chosen=${PYTHON:+yes}
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" >/dev/null || die "no interpreter $PYTHON: install Python 3.11 or newer, or set PYTHON="
  # A pyenv shim follows the folder it is called in; the environment must not.
  PYTHON=$("$PYTHON" -c 'import sys; print(sys.executable)')
  PYTHON_VERSION=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$PYTHON is Python $PYTHON_VERSION; procession needs 3.11 or newer (set PYTHON=)"
  if [[ -z ${VENV:-} ]]; then
    VENV=$PWD/.venv
    # The default environment serves when it is the chosen interpreter's.
    if [[ -n $chosen ]]; then
      local its
      its=$(tail -n 1 "$VENV/.requirements" 2>/dev/null) || its=
      if [[ -n $its && $(readlink -f "$its") == "$(readlink -f "$PYTHON")" ]]; then PYTHON=$its; else VENV+=-$PYTHON_VERSION; fi
    fi
  fi
  export CARGO_TARGET_DIR=$PWD/target/py$PYTHON_VERSION
}

# The interpreters that matter: 3.11 and 3.13, from pyenv or the path. PYTHONS="..." overrides.
interpreters() {
  local version found
  if [[ -n ${PYTHONS:-} ]]; then printf '%s\n' $PYTHONS; return; fi
  for version in 3.11 3.13; do
    found=$(find_interpreter "$version") && printf '%s\n' "$found" || say "no Python $version on this machine: left out"
  done
}

find_interpreter() {
  local candidate
  for candidate in "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python "/usr/bin/python$1" "/usr/local/bin/python$1"; do
    if [[ -x $candidate ]]; then printf '%s\n' "$candidate"; return; fi
  done
  return 1
}

as_root() { if [[ $(id -u) == 0 ]]; then "$@"; elif command -v sudo >/dev/null; then sudo -n "$@"; else return 1; fi; }

# Debian keeps `venv`'s second half and the C linker in packages of their own.
install_debian_packages() {
  command -v apt-get >/dev/null || return 1
  say "installing Debian packages: $*"
  { as_root apt-get -q update && as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends "$@"; } >/dev/null
}

make_environment() {
  local wanted
  wanted=$(cat requirements/test.txt requirements/lint.txt; echo "$PYTHON")
  if [[ ! -f $VENV/.requirements || $(<"$VENV/.requirements") != "$wanted" ]]; then
    say "environment for Python $PYTHON_VERSION in ${VENV#"$PWD"/}"
    "$PYTHON" -c 'import ensurepip' 2>/dev/null || install_debian_packages "python$PYTHON_VERSION-venv" ||
      die "Python's venv is missing: apt-get install python$PYTHON_VERSION-venv"
    [[ -x $VENV/bin/python ]] && "$VENV/bin/python" -c 'import pip' 2>/dev/null ||
      "$PYTHON" -m venv --clear "$VENV"
    "$VENV/bin/pip" install -q --disable-pip-version-check --upgrade -r requirements/test.txt -r requirements/lint.txt
    rm -f "$VENV/.built"
    printf '%s\n' "$wanted" >"$VENV/.requirements"
  fi
  export VIRTUAL_ENV=$VENV PATH=$VENV/bin:$PATH
  unset PYTHONHOME PYTHONPATH
}

build() {
  command -v cargo >/dev/null || die "no cargo: install a Rust toolchain ($(sed -n 's/^rust-version = //p' Cargo.toml | tr -d '"') or newer)"
  command -v cc >/dev/null || install_debian_packages gcc libc6-dev || die "no C linker: apt-get install gcc libc6-dev"
  local stamp=$VENV/.built
  if [[ -f $stamp && $(<"$stamp") == "${FEATURES:-}" ]] &&
     [[ -z $(find crates Cargo.toml Cargo.lock pyproject.toml -newer "$stamp" -not -path '*/tests/*' -print -quit) ]] &&
     "$VENV/bin/python" -c 'import procession._native' 2>/dev/null; then
    return
  fi
  say "building for Python $PYTHON_VERSION${FEATURES:+ with $FEATURES}"
  local log began
  log=$(mktemp) began=$(mktemp)
  if ! build_module >"$log" 2>&1; then cat "$log" >&2; rm -f "$log" "$began"; exit 1; fi
  printf '%s\n' "${FEATURES:-}" >"$stamp"
  touch -r "$began" "$stamp"   # an edit during the build is newer than the build
  rm -f "$log" "$began"
}

# A build with features never goes into the source tree, where other environments would import it.
build_module() {
  if [[ -z ${FEATURES:-} ]]; then
    "$VENV/bin/maturin" develop --release --quiet
  else
    local wheels=$CARGO_TARGET_DIR/wheels-$FEATURES
    rm -rf "$wheels"
    "$VENV/bin/maturin" build --release --quiet --features "$FEATURES" --interpreter "$VENV/bin/python" --out "$wheels"
    "$VENV/bin/pip" install -q --disable-pip-version-check --force-reinstall "$wheels"/*.whl
  fi
}

setup() {
  choose_interpreter
  make_environment
  build
}
