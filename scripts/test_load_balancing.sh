#!/usr/bin/env bash
# No worker gets much more than the least loaded one: a worker is given a task only while it has
# at most max_load_diff (2) more than that one.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

max_load_diff=2
say "a master, a worker of one slot and one of four"
# Workers that hold still are not to be taken for dead meanwhile.
start_master --heartbeat-timeout 60
start_worker small --threads 1
start_worker big --threads 4
workers_up small big
need_data large data/large.txt

say "sixteen tasks while both hold still: what each is given"
kill -STOP "${pid_of[small]}" "${pid_of[big]}"
job=$(submit --input data/large.txt --parallelism 16)
given() { (($(load small) >= 1 && $(load big) >= 2)); }
wait_until "both are given tasks" given
small=$(load small) big=$(load big)
kill -CONT "${pid_of[small]}" "${pid_of[big]}"
printf 'load of the small worker %s, of the big one %s\n' "$small" "$big"
check "they differ by at most one task more than max_load_diff" \
  test "$((big > small ? big - small : small - big))" -le "$((max_load_diff + 1))"
check "the worker with more slots has more" test "$big" -gt "$small"
succeeds "$job"
result_right "$job" data/large.txt

say "a long job over both"
need_data 1m data/benchmark_1m.csv
job=$(submit --input data/benchmark_1m.csv --parallelism 48)
succeeds "$job"
ask "/api/v1/jobs/$job/tasks?limit=1000" >"$work/tasks.json"
for name in small big; do
  printf '%s did %s tasks\n' "$name" \
    "$(value "sum(t['worker'] == '${id_of[$name]}' for t in d['tasks'])" <"$work/tasks.json")"
done
holds "both worked" "{'${id_of[small]}', '${id_of[big]}'} <= {t['worker'] for t in d['tasks']}" \
  <"$work/tasks.json"
say "the load is balanced"
