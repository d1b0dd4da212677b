#!/usr/bin/env bash
# Evidence that the simulation can fail: puts one deliberate bug after the other into a copy of the service's sources and tells after how many seeds each is found.
#
#   tests/simulation/bugs.sh [--check] [--seeds N] [NAME…]     default: all of tests/data/simulation/bugs, 2,000 seeds each, or as many as the bug's line `seeds: N` says
#
#   --check   only says whether every bug still applies to the sources
#
# Stdout is a Markdown table. Exit code 1 when a bug no longer applies, does not compile, or is not found.
set -uo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
BUGS=$ROOT/tests/data/simulation/bugs
CARGO=${CARGO:-cargo}
seeds= check= names=()
while (($# > 0)); do
  case $1 in
    --check) check=yes ;;
    --seeds) seeds=$2; shift ;;
    *) names+=("$1") ;;
  esac
  shift
done
if ((${#names[@]} == 0)); then
  for file in "$BUGS"/*.patch; do names+=("$(basename "$file" .patch)"); done
fi

scratch=$(mktemp -d "${TMPDIR:-/tmp}/expressway-bugs-XXXXXX") || exit 3
trap 'rm -rf "$scratch"' EXIT

# The sources lie at one place for all bugs, so that only what a bug touches is read anew.
plant() {
  rm -rf "$scratch/tree"
  mkdir -p "$scratch/tree/ingest"
  cp -r "$ROOT/ingest/src" "$scratch/tree/ingest/src" && (cd "$scratch/tree" && GIT_CEILING_DIRECTORIES=$scratch git apply --recount "$BUGS/$1.patch")
}

code=0
[[ -n $check ]] || printf '| bug | what is wrong | found after seeds | by |\n|---|---|---:|---|\n'
for name in "${names[@]}"; do
  if ! plant "$name"; then
    echo "bugs.sh: $name no longer applies to the sources" >&2
    code=1
    continue
  fi
  [[ -n $check ]] && continue
  echo "+ $name" >&2
  if ! EXPRESSWAY_SIMULATION_PIPELINE=$scratch/tree/ingest/src "$CARGO" build --release --locked --quiet -p expressway-simulation >"$scratch/build" 2>&1; then
    tail -30 "$scratch/build" >&2
    echo "bugs.sh: $name does not compile" >&2
    code=1
    continue
  fi
  # One thread, so that the number of seeds is the same on every machine.
  its=${seeds:-$(sed -n 's/^seeds: //p' "$BUGS/$name.patch" | head -1)}
  its=${its:-2000}
  "$ROOT/target/release/simulate" --seeds "$its" --threads 1 --until-found >"$scratch/line" 2>"$scratch/told"
  found=$(sed -n 's/.*"seeds":\([0-9]*\),"violations":1.*/\1/p' "$scratch/line")
  [[ -n $found ]] || { echo "bugs.sh: $name is not found in $its seeds" >&2; code=1; }
  by=$(sed -n 's/^seed [0-9]*: //p' "$scratch/told" | head -1 | tr '|' '/' | cut -c1-120)
  printf '| %s | %s | %s | %s |\n' "$name" "$(head -1 "$BUGS/$name.patch")" "${found:-not in $its}" "${by:-}"
done
exit $code
