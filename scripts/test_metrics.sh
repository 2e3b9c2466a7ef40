#!/usr/bin/env bash
# Read all metrics without a token, with curl; other documents must refuse that.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

say "a cluster, and a word count of data/large.csv on it"
start_master
port=$(free_port)
start_worker a --threads 2 --port "$port"
workers_up a
need_data large data/large.csv
job=$(submit --input data/large.csv --parallelism 4)
succeeds "$job"
lines=$(python3 -c 'import csv; print(sum(map(bool, csv.reader(open("data/large.csv")))) - 1)')

# A worker reports its tasks with its next heartbeat.
reported() { [[ $(figure /api/v1/metrics/system | value 'sum(w["tasks_done"] for w in d["workers"])') -ge 1 ]]; }
wait_until "the worker has reported its tasks" reported

say "/api/v1/metrics/system"
figure /api/v1/metrics/system | tee "$work/system" | python3 -m json.tool
holds "a worker is up" 'd["workers_up"] >= 1' <"$work/system"
holds "workers with CPU, memory, load and latency" 'all({"cpu_percent", "memory_bytes", "active_tasks",
  "retries", "latency", "cache_hits"} <= w.keys() for w in d["workers"])' <"$work/system"
holds "p50 <= p95 <= p99 of the worker's tasks" "[w['latency']['p50_s'] <= w['latency']['p95_s'] <=
  w['latency']['p99_s'] for w in d['workers'] if w['worker_id'] == '${id_of[a]}'] in ([True], [])" \
  <"$work/system"

say "/api/v1/metrics/jobs"
figure /api/v1/metrics/jobs | tee "$work/jobs" | python3 -m json.tool
holds "the job is among them" "'$job' in [j['job_id'] for j in d['jobs']]" <"$work/jobs"

say "/api/v1/metrics/failures"
figure /api/v1/metrics/failures | tee "$work/failures" | python3 -m json.tool
if ((ours)); then
  holds "nothing failed" 'd["total"] == 0 == sum(d["by_kind"].values())' <"$work/failures"
fi

say "/api/v1/jobs/$job/metrics"
figure "/api/v1/jobs/$job/metrics" | tee "$work/job" | python3 -m json.tool
holds "it read every line of the file" "d['records']['read'] == $lines" <"$work/job"
holds "a map gives as many records as it takes" \
  'd["records"]["map"] == d["records"]["flatmap"]' <"$work/job"
holds "its throughput is its records over its time" \
  'abs(d["throughput_input_records_s"] * d["total_time_s"] / d["input_records"] - 1) < 0.01' <"$work/job"

say "/api/v1/jobs/$job/stages"
figure "/api/v1/jobs/$job/stages" >"$work/stages"
holds "a row for each node of the DAG, all done" '[(s["id"], s["status"]) for s in d["stages"]
  if s["kind"] == "node"] == [(n, "SUCCEEDED") for n in ("read", "flatmap", "map", "reduce")]' <"$work/stages"

say "/api/v1/state, /metrics, /healthz"
figure /api/v1/state | holds "the state names the job" "'$job' in [j['job_id'] for j in d['jobs']]"
figure /metrics >"$work/prometheus"
check "Prometheus text with HELP and TYPE" grep -q '^# TYPE minispark_' "$work/prometheus"
figure /healthz | holds "the master is well" 'd["status"] == "ok"'

worker_figures=http://127.0.0.1:$((port + 1000))/metrics
say "the worker's, at $worker_figures"
curl -fsS "$worker_figures" | holds "it says who it is and what it did" \
  "d['worker_id'] == '${id_of[a]}' and d['tasks_done'] >= 1 and {'cpu_percent', 'memory_bytes',
  'active_tasks', 'retries', 'cache_bytes'} <= d.keys()"
curl -fsS -H 'Accept: text/plain' "$worker_figures" >"$work/worker"
check "and the same for Prometheus" grep -q '^minispark_worker_' "$work/worker"

say "what is more than a figure"
for path in /api/v1/jobs "/api/v1/jobs/$job" "/api/v1/jobs/$job/results" "/api/v1/jobs/$job/tasks"; do
  code=$(curl -s -o /dev/null -w '%{http_code}' "$MASTER_URL$path")
  check "$path without a token: 401" test "$code" = 401
done
say "all figures are there"
