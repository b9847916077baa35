#!/usr/bin/env bash
# The main job: an unmodified multiprocessing program on both implementations, its output once, both times: the better of
# three runs each, in turn, after one that warms the disk's cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=(examples/word_count.py "$@")

seconds() { local began=$EPOCHREALTIME; "$@" >/dev/null; local ended=$EPOCHREALTIME; awk "BEGIN { printf \"%.2f\\n\", $ended - $began }"; }
best() { sort -n | head -n 1; }

printf '$ procession run %s\n' "${program[*]}"
procession run "${program[@]}"
standard= ours=
for _ in 1 2 3; do
  standard+=$(seconds python "${program[@]}")$'\n'
  ours+=$(seconds procession run "${program[@]}")$'\n'
done
printf '\n%-28s %6s s\n%-28s %6s s\n' 'standard library' "$(printf %s "$standard" | best)" 'procession' "$(printf %s "$ours" | best)"
