#!/usr/bin/env bash
# Builds the fuzz targets with coverage on a stable compiler, and runs one:
#   ./run.sh TARGET SECONDS [libFuzzer options]     e.g.  ./run.sh answers 600
#   ./run.sh build                                  only builds
# The flags are those of cargo-fuzz without a sanitizer; `cargo fuzz run -s none TARGET` does the same.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?which target}
host=$(rustc -vV | sed -n 's/^host: //p')
flags="--cfg fuzzing -Ccodegen-units=1 -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4"
flags="$flags -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
flags="$flags -Cllvm-args=-sanitizer-coverage-trace-compares"
# With a target named, the flags reach neither build scripts nor macros.
RUSTFLAGS="$flags" cargo build --release --target "$host" ${FUZZ_FEATURES:+--features "$FUZZ_FEATURES"}
[ "$target" = build ] && exit 0
seconds=${2:?how many seconds}
shift 2
work=${FUZZ_WORK:-work}/$target
mkdir -p "$work" artifacts/"$target" corpus/"$target"
exec "${CARGO_TARGET_DIR:-target}/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 \
  -artifact_prefix=artifacts/"$target"/ "$@" "$work" corpus/"$target"
