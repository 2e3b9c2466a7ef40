# shellcheck shell=bash
# Sourced by the scripts here: a private cluster, checks, and an end that leaves nothing.
#
# A script starts a master and workers on free ports. If MASTER_URL names a master of this user, it
# adds its workers to that one instead. Every process is ended by its id.

# shellcheck source=scripts/checks.sh
source "$(dirname "${BASH_SOURCE[0]}")/checks.sh"
export NO_COLOR=1

minispark=$root/.venv/bin/minispark
[[ -x $minispark ]] || minispark=$(command -v minispark) || die "there is no minispark here: make build"

work=$(mktemp -d)
leftovers=("$work")
pids=()

finish() {
  local code=$? pid
  trap - EXIT
  if ((code != 0)); then
    tail -n 5 "$work"/*.log >&2 2>/dev/null || true
  fi
  # Two signals: after the first one a worker only drains. A stopped process gets them with SIGCONT.
  for pid in "${pids[@]}"; do
    { kill -TERM "$pid" && kill -INT "$pid" && kill -CONT "$pid"; } 2>/dev/null || true
  done
  wait 2>/dev/null
  rm -rf "${leftovers[@]}"
  exit "$code"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Whether the script started the master.
ours=1
[[ -z ${MASTER_URL:-} ]] || ours=0

# start_master [OPTION...]: the master of MASTER_URL, or one of our own.
# shellcheck disable=SC2120
start_master() {
  if ((!ours)); then
    : "${MINISPARK_STATE_DIR:=/tmp/minispark/state}"
    export MINISPARK_STATE_DIR MASTER_URL
  else
    export MINISPARK_STATE_DIR=$work/state
    unset MINISPARK_TOKEN MINISPARK_TOKEN_FILE MINISPARK_MASTER
    "$minispark" master --port 0 --data-root "$root" "$@" >"$work/master.log" 2>&1 &
    pids+=($!)
    wait_until "the master is up" test -s "$MINISPARK_STATE_DIR/master.json"
    MASTER_URL=$(value 'd["url"]' <"$MINISPARK_STATE_DIR/master.json")
    export MASTER_URL
  fi
  token=${MINISPARK_TOKEN:-$(cat "${MINISPARK_TOKEN_FILE:-$MINISPARK_STATE_DIR/token}")}
  check "the master at $MASTER_URL answers" figure /healthz -o /dev/null
}

# figure PATH [OPTION...]: an answer of the master without a token.
figure() { curl -fsS "$MASTER_URL$1" "${@:2}"; }

# ask PATH [OPTION...]: an answer with the token, which the list of processes does not show.
ask() { curl -fsS -H @- "$MASTER_URL$1" "${@:2}" <<<"Authorization: Bearer $token"; }

# start_worker NAME [OPTION...]: sets pid_of[NAME]; workers_up waits for them.
declare -A pid_of id_of url_of
start_worker() {
  local name=$1
  shift
  "$minispark" worker --port 0 --data-root "$root" --work-dir "$work/blocks" "$@" \
    >"$work/$name.log" 2>&1 &
  pids+=($!)
  pid_of[$name]=$!
}

# workers_up NAME...: sets id_of[NAME] and url_of[NAME].
workers_up() {
  local name
  for name in "$@"; do
    wait_until "worker $name is up" grep -q '│ URL' "$work/$name.log"
    url_of[$name]=$(grep -o '│ URL *http[^ ]*' "$work/$name.log" | grep -o 'http.*')
    id_of[$name]=$(ask /api/v1/workers | value "[w['worker_id'] for w in d['workers']
      if w['url'] == '${url_of[$name]}' and w['status'] == 'UP'][0]")
    printf 'worker %s is %s (pid %s)\n' "$name" "${id_of[$name]}" "${pid_of[$name]}"
  done
}

# executors NAME: the process ids of a worker's task processes.
executors() { pgrep -P "${pid_of[$1]}" -f minispark.worker.executor; }

# load NAME: how many tasks the master has given to a worker.
load() { ask /api/v1/workers | value "next(w['active_tasks'] for w in d['workers']
  if w['worker_id'] == '${id_of[$1]}')"; }

# need_data KIND FILE: creates a data set if the file does not exist.
need_data() { [[ -s $2 ]] || "$minispark" data "$1" --output "$2"; }

# submit ARGUMENT...: prints the id of the job.
submit() { "$minispark" submit --no-wait "$@"; }

# ended JOB: whether the job has ended; waits up to 20 s for that.
ended() { [[ $(ask "/api/v1/jobs/$1?wait_s=20" | value 'd["status"]') =~ ^(SUCCEEDED|FAILED|CANCELLED)$ ]]; }

# succeeds JOB: waits until the job has succeeded.
succeeds() {
  wait_until "$1 ends" ended "$1"
  ask "/api/v1/jobs/$1" | holds "$1 SUCCEEDED" 'd["status"] == "SUCCEEDED"'
}

# result_right JOB FILE: the job's result equals the counts of plain Python.
result_right() {
  "$minispark" results "$1" --format csv --force --output "$work/$1.csv" >/dev/null
  counts_right "$1" "$2" <"$work/$1.csv"
}
