#!/usr/bin/env bash
# The official benchmark: count the words of 1,000,000 lines with 6 partitions on 2 workers. Compares
# the result with plain Python, and the throughput with that of the benchmark's own engine.
# shellcheck source=scripts/cluster.sh
source "$(dirname "$0")/cluster.sh"

lines=1000000 slowest=58754
say "a master and two workers of one thread; the data"
start_master
if ((ours)); then
  for name in a b; do start_worker "$name" --threads 1; done
  workers_up a b
fi
need_data 1m data/benchmark_1m.csv
check "data/benchmark_1m.csv has 1,000,000 lines" \
  test "$(wc -l <data/benchmark_1m.csv)" -eq "$((lines + 1))"

say "word count, 6 partitions (the first run also warms the processes)"
for run in 1 2 3; do
  job=$(submit --input data/benchmark_1m.csv --parallelism 6)
  succeeds "$job" >/dev/null
  figure "/api/v1/jobs/$job/metrics" >"$work/metrics.json"
  printf 'run %d: %s\n' "$run" "$(value 'f"""{d["total_time_s"]:.2f} s, {
    d["throughput_input_records_s"]:,.0f} records/s of input, {
    d["throughput_all_records_s"]:,.0f} over all operators"""' <"$work/metrics.json")"
done

say "its figures"
"$minispark" status "$job"
python3 -m json.tool "$work/metrics.json"

say "checks"
holds "all lines were read" "d['records']['read'] == $lines" <"$work/metrics.json"
holds "no task had to be tried again" "d['retries'] == 0" <"$work/metrics.json"
holds "more than $slowest records/s" "d['throughput_input_records_s'] > $slowest" <"$work/metrics.json"
result_right "$job" data/benchmark_1m.csv
