#!/usr/bin/env bash
# The main job: an unmodified multiprocessing program on both implementations, its output once, both times.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=(examples/word_count.py "$@")

seconds() { local began=$EPOCHREALTIME; "$@"; local ended=$EPOCHREALTIME; awk "BEGIN { printf \"%.2f\", $ended - $began }" >&3; }

standard=$( { seconds python "${program[@]}" >/dev/null; } 3>&1 )
printf '$ procession run %s\n' "${program[*]}"
exec 4>&1
ours=$( { seconds procession run "${program[@]}" >&4; } 3>&1 )
printf '\n%-28s %6s s\n%-28s %6s s\n' 'standard library' "$standard" 'procession' "$ours"
