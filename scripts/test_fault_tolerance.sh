#!/usr/bin/env bash
# What is lost is done again, and the answer does not change: a worker is killed that holds tasks,
# then a task process.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

say "a master and two workers"
start_master --heartbeat-timeout 3
start_worker a --threads 2 --heartbeat 0.5
start_worker b --threads 2 --heartbeat 0.5
workers_up a b
need_data 1m data/benchmark_1m.csv
need_data large data/large.csv

say "worker b is killed (kill -9) while it holds tasks"
job=$(submit --input data/benchmark_1m.csv --parallelism 48)
# Stopped first, so that it holds them for sure when it dies.
caught() {
  kill -STOP "${pid_of[b]}"
  (($(load b) > 0)) || { kill -CONT "${pid_of[b]}" && return 1; }
}
wait_until "b holds tasks" caught
printf 'b holds %d tasks\n' "$(load b)"
kill -KILL "${pid_of[b]}"
wait "${pid_of[b]}" 2>/dev/null || true
succeeds "$job"
result_right "$job" data/benchmark_1m.csv
is_down() { ask /api/v1/workers | value "[w['status'] for w in d['workers']
  if w['worker_id'] == '${id_of[b]}'] in ([], ['DOWN'])" | grep -q True; }
wait_until "b is DOWN" is_down
check "b is DOWN" is_down
ask "/api/v1/jobs/$job/tasks?limit=1000" >"$work/tasks.json"
holds "attempts of b ended with it" \
  "any(t['worker'] == '${id_of[b]}' and t['status'] != 'SUCCEEDED' for t in d['tasks'])" \
  <"$work/tasks.json"
holds "each of them was done by another worker" \
  "all(any(o['stage'] == t['stage'] and o['partition'] == t['partition']
  and o['status'] == 'SUCCEEDED' and o['worker'] != t['worker'] for o in d['tasks'])
  for t in d['tasks'] if t['worker'] == '${id_of[b]}' and t['status'] != 'SUCCEEDED')" \
  <"$work/tasks.json"

say "a task's process is killed: the task is tried again"
mapfile -t processes < <(executors a)
kill -STOP "${processes[@]}"
job=$(submit --input data/large.csv --parallelism 4)
a_holds_tasks() { (($(load a) > 0)); }
wait_until "a is given tasks" a_holds_tasks
kill -KILL "${processes[0]}"
kill -CONT "${processes[@]:1}"
succeeds "$job"
result_right "$job" data/large.csv
ask "/api/v1/jobs/$job/tasks" >"$work/tasks.json"
holds "an attempt failed with its process, and a second one succeeded" \
  "any(t['status'] == 'FAILED' and any(o['stage'] == t['stage'] and o['partition'] == t['partition']
  and o['attempt'] > t['attempt'] and o['status'] == 'SUCCEEDED' for o in d['tasks'])
  for t in d['tasks'])" <"$work/tasks.json"
figure "/api/v1/jobs/$job/metrics" | holds "it counts as a retry" 'd["retries"] >= 1'

say "a new worker takes the place of b"
start_worker c --threads 2
workers_up c
job=$(submit --input data/large.csv --parallelism 4)
succeeds "$job"
say "what is lost is done again"
