#!/bin/sh
# Does the live page slow the load? 1,000 requests a second for 20 s, by turns without a page, with one
# that nobody looks at, and with one that is open; lag p99 of each. docs/performance.md has the results.
#
#   benches/live.sh [ROUNDS] [PROGRAM]
#
# Server and browser stand on core 0, the client on core 1, if the machine has no more than two. A browser
# is used where there is one; READER=curl reads the stream of events without one.
set -eu
rounds=${1:-3}
program=$(realpath "${2:-target/release/plimsoll}")
dir=$(mktemp -d)
sim= reader= client=
end() {
  for pid in $reader $client $sim; do kill "$pid" 2>/dev/null || true; done
  rm -rf "$dir"
}
trap end EXIT INT TERM
cores=$(nproc)
on() { core=$1; shift; if [ "$cores" -eq 2 ]; then exec taskset -c "$core" "$@"; else exec "$@"; fi; }
port=18211
page=18212
cat > "$dir/live.toml" <<TOML
name = "live"
seed = 1
[target]
url = "http://127.0.0.1:$port"
api = "openai-chat"
[workload]
prompt_tokens = 32
max_tokens = 1
stream = false
[load]
qps = 1000
arrivals = "constant"
[cell]
duration = "20s"
warmup = "2s"
cooldown = { min = "0s", max = "1s" }
TOML
(on 0 "$program" sim --addr 127.0.0.1:$port --set ttft=0ms --set tpot=0ms) > "$dir/sim.log" 2>&1 &
sim=$!
sleep 1

# One run: its lag p99 in ms, how many it sent a second, and whether it is valid.
once() {
  how=$1
  out=$dir/runs-$how
  set -- run "$dir/live.toml" --out "$out" --no-report --progress none
  [ "$how" = without ] || set -- "$@" --ui 127.0.0.1:$page
  (on 1 "$program" "$@") > "$dir/client.log" 2>&1 &
  client=$!
  if [ "$how" = open ]; then
    sleep 1
    if [ "${READER:-chromium}" = curl ] || ! command -v chromium > "$dir/which"; then
      (on 0 curl -sN "http://127.0.0.1:$page/api/events") > "$dir/events" 2>&1 &
    else
      (on 0 chromium --headless --no-sandbox --disable-gpu --no-first-run --remote-debugging-port=0 \
        --user-data-dir="$dir/profile" "http://127.0.0.1:$page/") > "$dir/browser.log" 2>&1 &
    fi
    reader=$!
  fi
  code=0
  wait "$client" || code=$?
  # 4: its own verdict on the cell, which the line below has.
  if [ "$code" -ne 0 ] && [ "$code" -ne 4 ]; then
    cat "$dir/client.log" >&2
    echo "the client ended with $code" >&2
    exit 1
  fi
  if [ -n "$reader" ]; then kill "$reader" 2>/dev/null || true; wait "$reader" 2>/dev/null || true; fi
  client= reader=
  # The last line of the table of all runs, by the names of its columns.
  awk -F, -v how="$how" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    { lag = $at["lag_p99_ms"]; sent = $at["sent_rps"]; valid = $at["validity"] }
    END { printf "%-8s lag p99 %8.3f ms, sent %7.1f req/s, %s\n", how, lag, sent, valid }' "$out/summary.csv"
}

for _ in $(seq "$rounds"); do
  for how in without unread open; do once "$how"; done
done
