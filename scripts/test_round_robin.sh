#!/usr/bin/env bash
# Workers get tasks in turn. Three workers are stopped, so none of their tasks ends, and the order of
# the tasks shows. Then they continue.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

say "a master and three workers of two slots"
# Stopped workers must not be DOWN meanwhile.
start_master --heartbeat-timeout 60
for name in a b c; do start_worker "$name" --threads 2; done
workers_up a b c
need_data large data/large.txt

say "six tasks for three workers that hold still"
for name in a b c; do kill -STOP "${pid_of[$name]}"; done
job=$(submit --input data/large.txt --parallelism 6)
given() { [[ $(ask "/api/v1/jobs/$job/tasks" | value 'len(d["tasks"])') -ge 6 ]]; }
wait_until "six tasks are given out" given
ask "/api/v1/jobs/$job/tasks" >"$work/tasks.json"
for name in a b c; do kill -CONT "${pid_of[$name]}"; done

order=$(value '" ".join(t["worker"] for t in sorted(d["tasks"], key=lambda t: t["partition"]))' \
  <"$work/tasks.json")
printf 'given to: %s\n' "$order"
three="{'${id_of[a]}', '${id_of[b]}', '${id_of[c]}'}"
holds "each worker had its turn" "$three <= {t['worker'] for t in d['tasks']}" <"$work/tasks.json"
if ((ours)); then
  holds "the second round goes in the order of the first" \
    "(lambda w: len(set(w[:3])) == 3 and w[:3] == w[3:6])([t['worker'] for t in
    sorted(d['tasks'], key=lambda t: t['partition'])])" <"$work/tasks.json"
fi

say "they go on"
succeeds "$job"
result_right "$job" data/large.txt
say "round robin holds"
