#!/usr/bin/env bash
# docs/programs.md: programs of others under python and under procession run, on 3.11 and 3.13 where present
# (PYTHONS="..." overrides). Arguments go to scripts/programs.py, as --only 'black*'; the page is then left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source scripts/environment.sh
results=()
failed=0
mkdir -p target/programs
for python in $(interpreters); do
  result=target/programs/$(basename "$(dirname "$(dirname "$python")")").json
  ( PYTHON=$python; setup; python scripts/programs.py --json "$result" "$@" ) || failed=1
  results+=("$result")
done
(($#)) || "$python" scripts/programs.py --table "${results[@]}"
exit $failed
