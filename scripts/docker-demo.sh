#!/usr/bin/env bash
# The whole cluster in containers: a word count over 1,000,000 lines with its figures as they come,
# then a join. It stays up afterwards: `make docker-down`.
# shellcheck source=scripts/docker.sh
source "$(dirname "$0")/docker.sh"

say "a master and two workers"
up

say "the data, in the volume that all containers share"
client data 1m
client data join

# follow JOB: its figures, and those of the cluster, until it ends.
follow() {
  until ended "$1"; do
    figure /api/v1/metrics/system >"$live/system"
    figure "/api/v1/jobs/$1/metrics" >"$live/job"
    printf '%s  %s\n' \
      "$(value 'f"""{d["status"]:9} {d["total_time_s"]:5.1f} s  {d["tasks_done"]:3} of {d["tasks"]} tasks  {
        d["input_records"]:9,} records read, {d["all_records"]:11,} over all operators"""' <"$live/job")" \
      "$(value 'f"""| {d["active_tasks"]} tasks on {d["workers_up"]} workers, CPU {
        d["cpu_percent"]:3.0f} %, {d["memory_bytes"] / 1e6:,.0f} MB"""' <"$live/system")"
    sleep 0.2
  done
  ask "/api/v1/jobs/$1" | holds "$1 SUCCEEDED" 'd["status"] == "SUCCEEDED"'
}
live=$(mktemp -d)
trap 'rm -rf "$live"' EXIT

say "word count over 1,000,000 lines, 6 partitions"
job=$(client submit --no-wait --input data/benchmark_1m.csv --parallelism 6)
follow "$job"
client status "$job"
figure "/api/v1/jobs/$job/metrics" | tee "$live/job" | python3 -m json.tool
holds "all lines were read" 'd["records"]["read"] == 1_000_000' <"$live/job"
holds "every node of the job counted its records" \
  '[d["records"][n] for n in ("flatmap", "map")] == [12_000_000] * 2' <"$live/job"
result_right "$job" data/benchmark_1m.csv

say "a job of several stages: sales joined with their products, by category"
python3 -c 'import json, sys; json.dump(json.load(open("examples/join.json")), sys.stdout)' |
  curl -fsS -H "Content-Type: application/json" -H @<(printf 'Authorization: Bearer %s\n' "$(cat "$secret")") \
    --data @- "$MASTER_URL/api/v1/jobs" >"$live/accepted"
job=$(value 'd["job_id"]' <"$live/accepted")
follow "$job"
client status "$job"
client results "$job" | head -n 4

say "the cluster's figures: curl $MASTER_URL/api/v1/metrics/system"
figure /api/v1/metrics/system | holds "no attempt failed" 'sum(d["totals"]["failures"].values()) == 0'
figure /api/v1/metrics/system | python3 -m json.tool
say "the cluster stays up; end it with: make docker-down"
