#!/usr/bin/env bash
# A new node joins over a link of 64 kbit/s that drops every 30 s. Does it start from nothing each time?
#
#     bash examples/tryout/thin-join-drops.sh [PATH OF tidings]
#     UP=10 DOWN=3 KEYS=3000 bash examples/tryout/thin-join-drops.sh       # shorter
#
# The link is made thin by --upload-limit, and dropped in a network namespace of this script's own: needs `unshare` (util-linux) and
# `ip` (iproute2), and to be root where a user may have no namespaces.
if [[ -z ${IN_NAMESPACE:-} ]]; then
    as_root=()
    ((EUID == 0)) || as_root=(--user --map-root-user)
    if command -v ip >/dev/null && unshare "${as_root[@]}" --net true 2>/dev/null; then
        IN_NAMESPACE=yes exec unshare "${as_root[@]}" --net bash "$0" "$@"
    fi
    echo "SKIPPED: $(basename "$0"): it needs ip (iproute2), and unshare --net, as root" >&2
    exit 77
fi
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
ip link set lo up
UP=${UP:-30} DOWN=${DOWN:-5} KEYS=${KEYS:-10000}
patience=$((KEYS / 20 + 120))

# What goes from one to the other goes nowhere, and nobody is told.
drop() { for one in 2 3; do ip route add blackhole "127.0.0.$one/32" table local; done; }
mend() { for one in 2 3; do ip route del blackhole "127.0.0.$one/32" table local; done; }
received() { figure "$1" 'tidings_link_bytes_total{direction="received"'; }

step "A node with $KEYS keys, 60 bytes each with its value; one that joins it on a good link, for comparison."
awk -v keys="$KEYS" 'BEGIN { srand(1); for (key = 0; key < keys; key++) { value = ""
    for (i = 0; i < 44; i++) value = value sprintf("%c", 48 + int(rand() * 43))
    printf "{\"key\":\"key%013d\",\"text\":\"%s\"}\n", key, value } }' >"$work/records"
address=127.0.0.2
start source
at source import "$work/records" >/dev/null 2>&1
address=127.0.0.3
start good
see "it has all" agree
whole=$(received good)
note "that took $whole bytes"
end KILL good
end TERM source

step "The node sends 8,000 bytes a second at most; another one joins, on a link that is up for $UP s and gone for $DOWN s."
address=127.0.0.2
start source --upload-limit 8k
address=127.0.0.3
start thin
while :; do sleep "$UP"; drop; sleep "$DOWN"; mend; done >"$work/drops.log" 2>&1 &
pid[drops]=$!
disown
had=0 drops=0
begun=$SECONDS
until agree; do
    ((SECONDS - begun < patience)) || different "it has not arrived in $patience s"
    has=$(figure thin tidings_keys)
    ((has >= had)) || different "it had $had keys, and now has $has"
    had=$has
    if is thin tidings_links_lost_total ">" "$drops"; then
        drops=$(figure thin tidings_links_lost_total)
        note "the link is lost: it has $has keys, and keeps them"
    fi
    sleep 0.5
done
kill "${pid[drops]}"
bytes=$(received thin)
note "seen: it has all after $((SECONDS - begun)) s and $drops losses of the link, with $bytes bytes"
((drops >= 2)) || different "the link was lost $drops times: too few to tell"
more=$(((bytes - whole) / drops))
((more <= 12000)) || different "$more bytes more for each loss, where the link brings 8,000 in a second"
note "seen: $more bytes more for each loss: what was under way, and nothing that had arrived was sent again"
