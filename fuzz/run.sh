#!/usr/bin/env bash
# Builds the fuzz targets with coverage on a stable compiler, and runs one:
#   ./run.sh TARGET SECONDS [libFuzzer options]     e.g.  ./run.sh answers 600; ends with a line in ledger.csv
#   ./run.sh build [TARGET…]                        only builds
#   ./run.sh prove [SECONDS [TARGET…]]              plants a panic in each target and sees that it is found
# The flags are those of cargo-fuzz without a sanitizer; `cargo fuzz run -s none TARGET` does the same.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?which target}
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
# With a target named, the flags reach neither build scripts nor macros.
[ "$target" = prove ] && export FUZZ_PLANTED=1
# Only what is named is built: each target is linked with its own optimised copy of everything.
only=()
case $target in
  build) for name in "${@:2}"; do only+=(--bin "$name"); done ;;
  prove) for name in "${@:3}"; do only+=(--bin "$name"); done ;;
  *) only=(--bin "$target") ;;
esac
RUSTFLAGS="$flags" cargo build --locked --release --target "$host" ${FUZZ_FEATURES:+--features "$FUZZ_FEATURES"} "${only[@]}"
[ "$target" = build ] && exit 0
# What a target lays down on the disk (`requests` an installation) goes with it, however it ends: a fuzzer that is stopped, or finds
# something, clears nothing away.
TMPDIR=$(mktemp -d)
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
if [ "$target" = prove ]; then
  scratch=$TMPDIR/prove
  mkdir "$scratch"
  missed=0
  shift
  seconds=${1:-600}
  [ $# -gt 0 ] && shift
  # All of them, or those that are named; one that finds nothing keeps no other from its turn.
  names=("$@")
  [ $# -gt 0 ] || for source in fuzz_targets/*.rs; do names+=("$(basename "$source" .rs)"); done
  for name in "${names[@]}"; do
    program=${CARGO_TARGET_DIR:-target}/$host/release/$name
    mkdir -p "$scratch/$name"
    # What is kept must not meet it: the fuzzer has to come upon it by itself.
    if ! "$program" -runs=0 "corpus/$name" >"$scratch/log" 2>&1; then
      echo "$name: the corpus meets the planted panic, or another"
      missed=1
      continue
    fi
    begun=$(date +%s)
    "$program" -max_total_time="$seconds" -timeout=10 -max_len=8192 -artifact_prefix="$scratch/" \
      "$scratch/$name" "corpus/$name" >"$scratch/log" 2>&1 || true
    runs=$(grep -aoE '^#[0-9]+' "$scratch/log" | tail -1)
    if grep -aqE "the planted (panic|fault)" "$scratch/log"; then
      echo "$name: found after $(($(date +%s) - begun)) s, $runs runs or more"
    else
      tail -5 "$scratch/log"
      echo "$name: not found in $(($(date +%s) - begun)) s, $runs runs or more"
      missed=1
    fi
  done
  exit $missed
fi
seconds=${2:?how many seconds}
shift 2
work=${FUZZ_WORK:-work}/$target
mkdir -p "$work" artifacts/"$target" corpus/"$target"
# What it says is shown and kept: the ledger's line is read from it.
mkfifo "$TMPDIR/said"
log=$TMPDIR/log
tee "$log" <"$TMPDIR/said" &
shower=$!
begun=$(date +%s)
# Not in place of this shell, which clears away afterwards; and waited for in a way that a signal ends.
"${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
  -artifact_prefix=artifacts/"$target"/ "$@" "$work" corpus/"$target" >"$TMPDIR/said" 2>&1 &
fuzzer=$!
ended() {
  wait $shower || true
  # A run with a planted fault is a proof of the fuzzer, and none of the product.
  [ -n "${FUZZ_PLANTED:-}" ] || ./ledger.sh add "$target" $(($(date +%s) - begun)) "$log"
}
# A shell has its children in the background not hear an interrupt.
trap 'kill -TERM $fuzzer 2>/dev/null; wait $fuzzer || true; ended; exit 143' HUP INT TERM
code=0
wait $fuzzer || code=$?
# What the fuzzer found counts, also where its run cannot be noted.
ended || [ $code -ne 0 ] || code=2
exit $code
