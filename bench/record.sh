#!/usr/bin/env bash
# The whole record: every figure that README.md and bench/README.md quote, measured one after the other on a quiet machine.
#
#   bench/record.sh [--short] [--into FOLDER] [--peers FOLDER] [--port P] [STEP…]
#
#   --short   a rehearsal: little of everything, into a temporary folder; its figures mean nothing
#   --into    where the files go, DATE-PROCESSOR-CORES first in their names   (default bench/record)
#   --peers   where bench/peers/install.sh has put the peers                  (default target/peers)
#   --port    of the broker that it starts for itself and ends again          (default 19492)
#
# Steps, all of them when none is named, in this order; minutes on two quiet processors:
#   engine 5        run all; instructions
#   kafka 9         kafka-heartbeat by each profile and shard number that the README names; with them the latency of the profile
#   guarantee 10    what the guarantee and each ordering cost, and SIGTERM under load
#   latency 12      kafka-latency for ten minutes, with memory after one and ten, then its backlog
#   lag 3           kafka-lag: ten million records within 256 MiB
#   overload 16     overload: five minutes of three times the capacity, then the drain
#   peers 12        peers, engines and Kafka to Kafka in one run
#   sweeps 10       sweep all, with charts
#
# A step that fails is told at the end; the others are run all the same. Exit code 1 when one failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 3

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
short='' into='' peers=target/peers port=19492 steps=()
while (($# > 0)); do
  case $1 in
    --short) short=yes ;;
    --into) into=${2:?} && shift ;;
    --peers) peers=${2:?} && shift ;;
    --port) port=${2:?} && shift ;;
    -*) usage ;;
    *) steps+=("$1") ;;
  esac
  shift
done
((${#steps[@]} > 0)) || steps=(engine kafka guarantee latency lag overload peers sweeps)
BENCH=${BENCH:-target/release/expressway-bench}
[[ -x $BENCH ]] || { echo "record.sh: $BENCH is missing: cargo build --profile bench -p expressway-bench -p expressway-ingest" >&2; exit 3; }
if [[ -z $into ]]; then
  into=bench/record
  [[ -z $short ]] || into=$(mktemp -d "${TMPDIR:-/tmp}/expressway-record-XXXXXX")
fi
processor=$(awk '/^model name/ {print tolower($5); exit}' /proc/cpuinfo)
prefix=$into/$(date -u +%F)-${processor:-cpu}-$(nproc)
brokers=127.0.0.1:$port
# $1 in earnest, $2 in a rehearsal.
much() { [[ -z $short ]] && echo "$1" || echo "$2"; }

folder=$(mktemp -d "${TMPDIR:-/tmp}/expressway-record-broker-XXXXXX") || exit 3
kafka() { tests/kafka.sh --port "$port" --dir "$folder" "$@"; }
trap 'kafka wipe >/dev/null 2>&1; rm -rf "$folder"' EXIT
trap 'exit 130' INT TERM
# A broker anew for each step: what one leaves behind is not in the next.
broker() {
  kafka wipe >/dev/null 2>&1
  kafka start >&2 && pid=$(cat "$folder/1/pid")
}
failed=()
# Runs the bench; FILE is the end of the record's name.
bench() {
  local file=$1 started=$SECONDS
  shift
  printf '\n$ expressway-bench %s\n' "$*" >&2
  "$BENCH" "$@" --record "$prefix-$file.jsonl" || failed+=("$*")
  printf '(%d s)\n' $((SECONDS - started)) >&2
}

step_engine() {
  bench engine run all
  # Counts of the bench profile, which the README quotes. What it says of them (exit code 1) is for the release profile, which tests/run speed judges.
  local code=0
  "$BENCH" instructions --record "$prefix-engine.jsonl" || code=$?
  ((code <= 1)) || failed+=(instructions)
}
step_kafka() {
  local profile shards
  for profile in throughput latency; do
    for shards in 2 1; do
      bench kafka run kafka-heartbeat --brokers "$brokers" --broker-pid "$pid" --profile "$profile" --shards "$shards" \
        --records "$(much 3000000 200000)" --rounds "$(much 5 1)" --rate "$(much 100000 5000)"
    done
  done
}
step_guarantee() {
  local ordering
  for ordering in key partition none; do
    bench kafka run kafka-heartbeat --brokers "$brokers" --broker-pid "$pid" --rate 0 --ordering "$ordering" \
      --records "$(much 3000000 200000)" --rounds "$(much 3 1)"
  done
  bench kafka run kafka-sigterm --brokers "$brokers" --rate "$(much 100000 5000)"
  # Last, for a broker that has just begun takes three times the processor time for a while, and more of it from whoever asks it for more.
  bench kafka run kafka-heartbeat --brokers "$brokers" --broker-pid "$pid" --rate 0 --floor careless \
    --records "$(much 3000000 200000)" --rounds "$(much 7 1)"
}
step_latency() {
  bench kafka run kafka-latency --brokers "$brokers" --broker-pid "$pid" --rate "$(much 100000 5000)" --duration "$(much 610 15)" \
    --backlog "$(much 1000000 200000)" --histogram "$prefix-kafka-latency.hgrm"
}
step_lag() {
  bench kafka run kafka-lag --brokers "$brokers" --broker-pid "$pid" --records "$(much 10000000 200000)" --memory-limit 256MiB
}
step_overload() {
  bench kafka run overload --brokers "$brokers" --duration "$(much 300 15)" --states "$(much 3000 5000)"
}
step_peers() {
  bench peers peers --brokers "$brokers" --broker-pid "$pid" --folder "$peers" --rounds "$(much 3 1)" --seconds "$(much 3 1)" \
    --records "$(much 4000000 300000)" --warm-records "$(much 1000000 100000)"
}
step_sweeps() {
  bench sweeps sweep all --brokers "$brokers" --svg "$prefix-sweep" --records "$(much 1000000 100000)" --rounds "$(much 3 1)"
  # One file a chart, named as the records are.
  local chart
  for chart in "$prefix"-sweep/*.svg; do mv "$chart" "$prefix-sweep-$(basename "$chart")"; done
  rmdir "$prefix-sweep"
}

mkdir -p "$into"
echo "record.sh: into $prefix-*" >&2
for step in "${steps[@]}"; do
  declare -F "step_$step" >/dev/null || usage
done
for step in "${steps[@]}"; do
  [[ $step == engine ]] || broker || { failed+=("$step: no broker"); continue; }
  "step_$step"
done
echo "record.sh: $SECONDS s, into $prefix-*" >&2
((${#failed[@]} == 0)) && exit 0
printf 'record.sh: failed: %s\n' "${failed[@]}" >&2
exit 1
