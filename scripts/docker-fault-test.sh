#!/usr/bin/env bash
# Kill a worker's container in the middle of a job, cut another one off from the network: the results
# stay right. The cluster is private and removed at the end.
export COMPOSE_PROJECT_NAME=minispark-faults
# shellcheck source=scripts/checks.sh
source "$(dirname "$0")/checks.sh"
MASTER_PORT=$(free_port)
export MASTER_PORT WORKER1_METRICS_PORT=0 WORKER2_METRICS_PORT=0
# shellcheck source=scripts/docker.sh
source "$(dirname "$0")/docker.sh"
trap 'compose --profile demo down --volumes >/dev/null 2>&1' EXIT

say "a master and two workers, and 1,000,000 lines"
up
client data 1m

# A killed container too: Compose 2 lists only running ones by itself.
container() { compose ps -a -q "$1"; }
# name_of SERVICE, load SERVICE: its worker as the master knows it (the newest of that address).
of_worker() { ask /api/v1/workers | value "[w for w in d['workers'] if '//$1:' in w['url']][-1]['$2']"; }
is() { [[ $(of_worker "$1" status) == "$2" ]]; }
# hold SERVICE: pauses the container while it holds tasks.
held() {
  docker pause "$(container "$1")" >/dev/null
  (($(of_worker "$1" active_tasks) > 0)) || { docker unpause "$(container "$1")" >/dev/null && return 1; }
}
submit() { client submit --no-wait --input data/benchmark_1m.csv --parallelism 64; }
# right JOB: the job succeeds with the right result.
right() {
  DEADLINE_S=120 wait_until "$1 ends" ended "$1"
  ask "/api/v1/jobs/$1" | holds "$1 SUCCEEDED" 'd["status"] == "SUCCEEDED"'
  result_right "$1" data/benchmark_1m.csv
}
# moved JOB WORKER: attempts of the job ended with the worker, and other workers ran those tasks.
moved() {
  ask "/api/v1/jobs/$1/tasks?limit=1000" | holds "what $2 held was done by another worker" "(lambda lost:
    len(lost) > 0 and all(any((o['stage'], o['partition'], o['status']) == (t['stage'], t['partition'],
    'SUCCEEDED') and o['worker'] != t['worker'] for o in d['tasks']) for t in lost))([t for t in d['tasks']
    if t['worker'] == '$2' and t['status'] != 'SUCCEEDED'])"
}

say "worker2 is killed in the middle of a job"
job=$(submit)
lost=$(of_worker worker2 worker_id)
wait_until "worker2 holds tasks" held worker2
printf 'worker2 (%s) holds %s tasks and is killed\n' "$lost" "$(of_worker worker2 active_tasks)"
docker kill "$(container worker2)" >/dev/null
right "$job"
moved "$job" "$lost"
docker start "$(container worker2)" >/dev/null
wait_until "worker2 is back" is worker2 UP
check "worker2 is back" is worker2 UP

say "worker1 is cut off from the network in the middle of a job"
network=$(docker inspect --format '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}}{{end}}' \
  "$(container worker1)")
job=$(submit)
lost=$(of_worker worker1 worker_id)
wait_until "worker1 holds tasks" held worker1
printf 'worker1 (%s) holds %s tasks and is cut off\n' "$lost" "$(of_worker worker1 active_tasks)"
docker network disconnect "$network" "$(container worker1)"
docker unpause "$(container worker1)" >/dev/null
wait_until "worker1 is DOWN" is worker1 DOWN
check "worker1 is DOWN" is worker1 DOWN
right "$job"
moved "$job" "$lost"
docker network connect --alias worker1 "$network" "$(container worker1)"
wait_until "worker1 is back" is worker1 UP
check "worker1 is back" is worker1 UP

say "both work again"
job=$(submit)
right "$job"
ask "/api/v1/jobs/$job/tasks?limit=1000" | holds "on two workers" \
  'len({t["worker"] for t in d["tasks"]}) == 2'
say "killed and cut off, and every result was right"
