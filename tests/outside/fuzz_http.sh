#!/usr/bin/env bash
# Asks a node everything that openapi.json allows, and much that it does not, and holds every answer to it:
#
#   pip install schemathesis
#   bash tests/outside/fuzz_http.sh [BINARY [SECONDS [FLAGS OF THE NODE...]]]
#
# By default target/debug/tidings, for 600 seconds, in memory. `leave` is left out, because it ends the node, and `watch`,
# because it does not end. Ends with 1 if an answer was a 5xx or not as documented, or if the node did not live through it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "${1:-$here/../../target/debug/tidings}")
seconds=${2:-600}
if (($# > 2)); then shift 2; else set -- --in-memory; fi

work=$(mktemp -d)
node=
finish() {
    if [[ -n $node ]]; then kill -s TERM "$node" 2>/dev/null && wait "$node" || true; fi
    rm -rf "$work"
}
trap finish EXIT

cd "$work"
"$binary" node --name fuzzed --listen 127.0.0.1:0 --http 127.0.0.1:0 "$@" >"$work/node" 2>"$work/log" &
node=$!
url=
for _ in {1..100}; do
    url=$(grep -o -m 1 'http://[0-9.:]*' "$work/node" || true)
    if [[ -n $url ]]; then break; fi
    sleep 0.1
done
if [[ -z $url ]]; then
    cat "$work/log"
    exit 1
fi

# What is too long is refused with 413, which the fuzzer does not expect by itself; 1,024 bytes of a key are fewer characters
# where they are not ASCII; and not every list of lines is one of good records.
cat >"$work/schemathesis.toml" <<'END'
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 413]
[checks.negative_data_rejection]
expected-statuses = [400, 404, 405, 413]
[[operations]]
include-path = "/v1/import"
checks.positive_data_acceptance.enabled = false
END

token() {
    curl --silent --include "$@" | sed -n 's/^tidings-session: *\([^[:space:]]*\).*/\1/Ip'
}
SESSIONS="$(token "$url/v1/kv") $(token --request PUT --data-binary x "$url/v1/kv/kettle")"
export SESSIONS

status=0
export SCHEMATHESIS_HOOKS="$here/fuzz_hooks.py"
"${SCHEMATHESIS:-schemathesis}" --config-file "$work/schemathesis.toml" run "$url/openapi.json" --checks all \
    --exclude-path /v1/leave --exclude-path /v1/watch --max-time "$seconds" --request-timeout 20 \
    --continue-on-failure --phases coverage,fuzzing,stateful || status=$?
curl --silent --fail --max-time 10 "$url/livez" || { echo "the node has not lived through it"; status=1; }
echo
if grep -E 'panicked|ERROR' "$work/log"; then status=1; fi
exit "$status"
