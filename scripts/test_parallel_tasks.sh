#!/usr/bin/env bash
# A worker of N threads runs N tasks at a time, each in its own process. All processes except one are
# stopped and hold a task each, while the last one runs all other tasks.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

threads=${WORKER_THREADS:-3}
tasks=$((threads * 4))
((threads > 1)) || die "there is nothing parallel about WORKER_THREADS=$threads"
((ours)) || die "this counts the tasks of one worker; unset MASTER_URL, it starts a master of its own"
say "a master and one worker of $threads threads"
start_master
start_worker a --threads "$threads"
workers_up a
need_data large data/large.txt
mapfile -t processes < <(executors a)
check "it has a process for each thread" test "${#processes[@]}" -eq "$threads"

say "$tasks tasks; all processes but one are stopped"
stopped=("${processes[@]:1}")
kill -STOP "${stopped[@]}"
job=$(submit --input data/large.txt --parallelism "$tasks")
first_done() { ask "/api/v1/jobs/$job" | value "d['stages'][0]['tasks_done']"; }
all_but_held() { (($(first_done) >= tasks - ${#stopped[@]})); }
wait_until "the last process does what it can" all_but_held
done_now=$(first_done)
printf '%d tasks done by one process, %d held by the %d that are stopped\n' \
  "$done_now" "$((tasks - done_now))" "${#stopped[@]}"
check "the stopped processes hold one task each" test "$done_now" -eq "$((tasks - ${#stopped[@]}))"

say "all go on"
kill -CONT "${stopped[@]}"
succeeds "$job"
result_right "$job" data/large.txt
check "no process had to be replaced" test "$(executors a | sort)" = "$(printf '%s\n' "${processes[@]}" | sort)"
say "tasks run in parallel"
