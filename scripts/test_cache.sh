#!/usr/bin/env bash
# What a job caches is kept in the workers' memory for the next one, spills to disk when there is
# no room, and is never served once the input has changed. The answer is the same every time.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

((ours)) || die "this looks at all that a cluster keeps; unset MASTER_URL, it starts one of its own"
say "a master, and 100,000 lines"
start_master
input=data/test-cache-$$.csv
leftovers+=("$input")
"$minispark" data large --lines 100000 --output "$input"
cat >"$work/job.json" <<JSON
{"name": "cached word count", "parallelism": 4, "dag": {
  "nodes": [{"id": "read", "op": "read_csv", "path": "$input"},
            {"id": "words", "op": "flat_map", "fn": "split_words"},
            {"id": "kept", "op": "cache"},
            {"id": "map", "op": "map", "fn": "pair_with_one"},
            {"id": "reduce", "op": "reduce_by_key", "key": "key", "fn": "sum"}],
  "edges": [["read", "words"], ["words", "kept"], ["kept", "map"], ["map", "reduce"]]}}
JSON

# count WHAT: runs the job, checks its result and leaves its figures in $work/WHAT.
count() {
  local job
  job=$(submit "$work/job.json")
  succeeds "$job"
  result_right "$job" "$input"
  figure "/api/v1/jobs/$job/metrics" >"$work/$1"
  printf '%s: %s\n' "$1" "$(value 'f"""{d["total_time_s"]:.2f} s, {d["cache_hits"]} hits, {
    d["cache_misses"]} misses, {d["bytes_read"]:,} bytes of input read"""' <"$work/$1")"
}
# cache NAME: what a worker says of its cache.
cache() { curl -fsS "http://127.0.0.1:$((${port_of[$1]} + 1000))/metrics" | value "int(d['cache_$2'])"; }
declare -A port_of
worker() {
  port_of[$1]=$(free_port)
  start_worker "$1" --threads 2 --port "${port_of[$1]}" --cache-max-mb "$2"
  workers_up "$1"
}

say "a worker with 64 MB for its cache"
worker roomy 64
count first
holds "the first run finds nothing" 'd["cache_hits"] == 0 and d["cache_misses"] > 0' <"$work/first"
count second
holds "the second one finds all of it" 'd["cache_hits"] > 0 and d["cache_misses"] == 0' <"$work/second"
holds "and reads nothing of the file" 'd["bytes_read"] == 0' <"$work/second"
check "rows are kept" test "$(cache roomy bytes)" -gt 0
check "in memory: nothing was spilled" test "$(cache roomy spills)" -eq 0

say "the file changes"
printf 'a line that was not there\n' >>"$input"
count changed
holds "what was kept of the old one is not served" 'd["cache_hits"] == 0' <"$work/changed"

say "a worker with 1 MB in its place"
kill "${pid_of[roomy]}"
# No worker can take its blocks: with the second signal it does not wait for one.
kill -INT "${pid_of[roomy]}"
wait "${pid_of[roomy]}" 2>/dev/null || true
worker tight 1
count tight
check "what does not fit is spilled to disk" test "$(cache tight spills)" -gt 0
count spilled
holds "and found there" 'd["cache_hits"] > 0 and d["cache_misses"] == 0' <"$work/spilled"
say "the cache keeps what it should, and nothing else"
