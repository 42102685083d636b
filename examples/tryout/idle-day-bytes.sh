#!/usr/bin/env bash
# Nothing is written for a day. How many bytes does each node send?
#
#     bash examples/tryout/idle-day-bytes.sh [PATH OF tidings]
#     SETTLE=5 IDLE=10 KEYS=2000 bash examples/tryout/idle-day-bytes.sh       # shorter, less exact
#
# Two answers: real nodes for a minute, all bytes counted (headers of UDP and IP too), times 1,440; and a whole day in the
# simulator, which knows what nodes say to each other, but not what QUIC sends to keep a link alive.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
SETTLE=${SETTLE:-60} IDLE=${IDLE:-60} KEYS=${KEYS:-10000}

# cluster PREFIX FLAG…: three nodes that know of no others
cluster() {
    local number
    quic=()
    for number in 1 2 3; do start "$1$number" "${@:2}"; done
}
sent() { figure "$1" 'tidings_link_bytes_total{direction="sent"'; }
megabytes() { awk "BEGIN { printf \"%.1f\", $1 * 86400 / $IDLE / 1e6 }"; }

step "Three clusters of three nodes: an empty one, one with $KEYS keys, and an empty one with --profile metered."
cluster empty --in-memory
cluster full --in-memory
cluster metered --in-memory --profile metered
awk -v keys="$KEYS" 'BEGIN { for (key = 0; key < keys; key++) printf "{\"key\":\"key%013d\",\"text\":\"%044d\"}\n", key, key }' |
    at full1 import - >/dev/null 2>&1
have_keys() { is full2 tidings_keys ">" "$KEYS" && is full3 tidings_keys ">" "$KEYS"; }
see "the keys are at all three of the second" have_keys
see "all are linked" everywhere is tidings_links == 2

step "Nothing is written. After $SETTLE s, in which they come to rest, bytes are counted for $IDLE s."
sleep "$SETTLE"
declare -A before after
for name in empty1 full1 metered1; do before[$name]=$(sent "$name"); done
sleep "$IDLE"
for name in empty1 full1 metered1; do after[$name]=$(($(sent "$name") - before[$name])); done
note "seen: an empty node sends ${after[empty1]} bytes in $IDLE s: $(megabytes "${after[empty1]}") MB a day, to two peers"
note "seen: one with $KEYS keys ${after[full1]} bytes: $(megabytes "${after[full1]}") MB a day"
note "seen: a metered one ${after[metered1]} bytes: $(megabytes "${after[metered1]}") MB a day"
awk "BEGIN { exit !(${after[full1]} < 1.2 * ${after[empty1]} + 500) }" || different "keys cost something though nothing is said of them"
note "seen: what is idle costs the same with keys and without"
awk "BEGIN { exit !(${after[empty1]} < 1000 * $IDLE) }" || different "an idle node sends more than 1,000 bytes a second"
awk "BEGIN { exit !(${after[metered1]} < 40 * $IDLE + 1500) }" || different "an idle metered node sends more than 40 bytes a second"

step "A day of it in the simulator: what nodes say beside QUIC's keep-alives."
for profile in lan metered; do
    simulate --nodes 3 --profile "$profile" --seconds 1 --writes-per-second 5 --quiet 86400
    most=$(sed -n 's/^bytes sent in .* quiet.*, \([0-9]*\) kB$/\1/p' "$work/simulated")
    ((${most:-1000} < 500)) || different "more than 500 kB a day are said"
    note "seen: $most kB a day and node in the profile $profile"
done
