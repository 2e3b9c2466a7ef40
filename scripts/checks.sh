# shellcheck shell=bash
# Sourced by the scripts here: messages, checks and waits.

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
  [[ $(value "$2" <<<"$document") == True ]] || die "$what: $2 does not hold of ${document:0:1000}"
  printf 'ok  %s\n' "$what"
}

# value EXPRESSION < JSON: prints a Python expression over `d`.
value() { python3 -c 'import json, sys; d = json.load(sys.stdin); print(eval(sys.argv[1]))' "$1"; }

# wait_until WHAT COMMAND...: repeats the command until it succeeds, for at most DEADLINE_S.
wait_until() {
  local what=$1 until=$((SECONDS + ${DEADLINE_S:-120}))
  shift
  until "$@" 2>/dev/null; do
    ((SECONDS < until)) || die "waited ${DEADLINE_S:-120} s in vain: $what"
    sleep 0.05
  done
}

# free_port: prints a free port P; P + 1000 is free too.
free_port() {
  python3 - <<'PY'
import random
import socket

for port in range(random.randrange(20_000, 40_000), 60_000):
    with socket.socket() as one, socket.socket() as other:
        try:
            one.bind(("127.0.0.1", port))
            other.bind(("127.0.0.1", port + 1000))
        except OSError:
            continue
        print(port)
        break
PY
}

command -v curl >/dev/null || die "this needs curl"
command -v python3 >/dev/null || die "this needs python3"

# counts_right WHAT FILE < RESULT: a result in CSV equals the counts of plain Python.
counts_right() { python3 scripts/count_words.py "$2" || die "$1 counted $2 wrong"; }
