# shellcheck shell=bash
# Sourced by the scripts here: what they say, what they check, and how they wait.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

say() { printf '\n== %s\n' "$*"; }
die() { printf 'FAILED: %s\n' "$*" >&2; exit 1; }

# check WHAT COMMAND...: the command must succeed.
check() {
  local what=$1
  shift
  "$@" || die "$what"
  printf 'ok  %s\n' "$what"
}

# holds WHAT EXPRESSION < JSON: a Python expression over `d` must be true.
holds() {
  local what=$1 document
  document=$(cat)
  [[ $(value "$2" <<<"$document") == True ]] || die "$what: $2 does not hold of ${document:0:500}"
  printf 'ok  %s\n' "$what"
}

# value EXPRESSION < JSON: prints a Python expression over `d`.
value() { python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# wait_until WHAT COMMAND...: tries until the command succeeds; DEADLINE_S is how long.
wait_until() {
  local what=$1 until=$((SECONDS + ${DEADLINE_S:-60}))
  shift
  until "$@" 2>/dev/null; do
    ((SECONDS < until)) || die "waited ${DEADLINE_S:-60} s in vain: $what"
    sleep 0.05
  done
}

command -v curl >/dev/null || die "this needs curl"
command -v python3 >/dev/null || die "this needs python3"

# counts_right WHAT FILE < RESULT: a result in CSV is what plain Python counts in the file.
counts_right() { python3 scripts/count_words.py "$2" || die "$1 counted $2 wrong"; }
