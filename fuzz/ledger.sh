#!/usr/bin/env bash
# The ledger of the fuzzers' runs, one a line, in ledger.csv:
#   ./ledger.sh add TARGET SECONDS LOG     appends a run, read from what libFuzzer has said (run.sh does it by itself)
#   ./ledger.sh sums                       prints what the runs add up to, target by target
#   ./ledger.sh readme                     puts that into README.md
# LEDGER names another file than ledger.csv.
set -euo pipefail
cd "$(dirname "$0")"
ledger=${LEDGER:-ledger.csv}
# What fuzzers say is not text in any language.
export LC_ALL=C

# The commit that was run, with a "+" where something beside the ledger was changed since.
commit() {
  local head
  head=$(git rev-parse --short=7 HEAD 2>/dev/null) || { echo "–"; return; }
  git diff --quiet HEAD -- .. ':!ledger.csv' ':!README.md' 2>/dev/null || head="$head+"
  echo "$head"
}

# What a pattern's last match in the log has to say; nothing where it does not match.
last() {
  sed -nE "s/$1/\1/p" "$2" | tail -1
}

add() {
  local target=$1 seconds=$2 log=$3 executions edges corpus found written
  [ -f "fuzz_targets/$target.rs" ] || { echo "$target is no target" >&2; exit 2; }
  [[ $seconds =~ ^[0-9]+$ ]] || { echo "seconds: a whole number" >&2; exit 2; }
  # The final count is exact; without it (the fuzzer was killed) the last line of progress is a lower bound.
  executions=$(last '^stat::number_of_executed_units: +([0-9]+).*' "$log")
  [ -n "$executions" ] || executions=$(last '^#([0-9]+)[^0-9].*' "$log")
  edges=$(last '^#[0-9]+.* cov: ([0-9]+) .*' "$log")
  corpus=$(last '^#[0-9]+.* corp: ([0-9]+)\/.*' "$log")
  [ -n "$executions" ] || { echo "$log: no word of a run" >&2; exit 2; }
  found=$(last '^SUMMARY: libFuzzer: (.*)' "$log")
  written=$(sed -nE 's/.*Test unit written to .*\/([^/]+)$/\1/p' "$log" | tr '\n' ' ')
  found=${found:-nothing}
  # An input that ends a run is a finding, also one that is only slow.
  [ -z "$written" ] || found="$found: ${written% }"
  case $found in *[,\"]*) found="\"${found//\"/\"\"}\"" ;; esac
  [ -f "$ledger" ] || echo "date,target,commit,seconds,executions,edges,corpus,found" >"$ledger"
  # In one piece, for two runs may end at the same moment.
  printf '%s,%s,%s,%s,%s,%s,%s,%s\n' "$(date -u +%F)" "$target" "$(commit)" "$seconds" "$executions" "${edges:-0}" "${corpus:-0}" "$found" >>"$ledger"
}

sums() {
  # Targets without a run are shown, too: nothing else says that they have none.
  { sed 1d "$ledger"; for source in fuzz_targets/*.rs; do echo ",$(basename "$source" .rs)"; done; } | awk -F, '
    function grouped(n,   text) {
      text = sprintf("%.0f", n)
      while (match(text, /^[0-9]+[0-9][0-9][0-9]($|,)/)) {
        match(text, /^[0-9]+/)
        text = substr(text, 1, RLENGTH - 3) "," substr(text, RLENGTH - 2)
      }
      return text
    }
    { known[$2] = 1 }
    $1 == "" { next }
    {
      runs[$2]++; seconds[$2] += $4; executions[$2] += $5
      if ($6 + 0 > edges[$2] + 0) edges[$2] = $6
      if ($7 + 0 > corpus[$2] + 0) corpus[$2] = $7
      if ($8 != "nothing") found[$2]++
      if (!(($2, $3) in seen)) { seen[$2, $3] = 1; commits[$2] = commits[$2] (commits[$2] == "" ? "" : " ") $3 }
      all_runs++; all_seconds += $4; all_executions += $5; if ($8 != "nothing") all_found++
    }
    END {
      print "| target | commits | runs | seconds | executions | edges | inputs | found |"
      print "|---|---|---|---|---|---|---|---|"
      sort = "sort"
      for (name in known) {
        if (name in runs)
          line = "| `" name "` | " commits[name] " | " runs[name] " | " grouped(seconds[name]) " | " grouped(executions[name]) " | " grouped(edges[name]) " | " grouped(corpus[name]) " | " found[name] + 0 " |"
        else
          line = "| `" name "` | – | 0 | 0 | 0 | – | – | – |"
        print line | sort
      }
      close(sort)
      print "| all | | " all_runs + 0 " | " grouped(all_seconds) " | " grouped(all_executions) " | | | " all_found + 0 " |"
    }'
}

readme() {
  local table
  table=$(mktemp)
  sums >"$table"
  awk -v table="$table" '
    /^<!-- end of sums -->$/ { inside = 0 }
    !inside { print }
    /^<!-- sums -->$/ { inside = 1; while ((getline line < table) > 0) print line }' README.md >"$table.md"
  cat "$table.md" >README.md
  rm -f "$table" "$table.md"
}

case ${1:-} in
  add) add "${2:?which target}" "${3:?how many seconds}" "${4:?which log}" ;;
  sums) sums ;;
  readme) readme ;;
  *) sed -n '2,6s/^# //p' "$0" >&2; exit 2 ;;
esac
