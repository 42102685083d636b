#!/usr/bin/env bash
# Nodes restart again and again, all night. Does anything pile up: members, replicas, links, files?
#
#     bash examples/tryout/restarts-all-night.sh [PATH OF tidings]
#
# Shortened: real nodes restart twelve times. The night of eight hours, with a thousand losses of power and more, goes by in the
# simulator: the same code in virtual time. NIGHT=7200 makes it two hours.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
NIGHT=${NIGHT:-28800}

step "Three nodes with data directories."
start node1 && start node2 && start node3
see "all know all" everywhere is 'tidings_members{state="alive"' == 3

step "One after the other ends and starts, in order or by kill -9; each time somebody writes."
for round in {1..12}; do
    name=node$((round % 3 + 1))
    end "$( ((round % 2)) && echo KILL || echo TERM)" "$name"
    at "node$(((round + 1) % 3 + 1))" put "key/$round" "$round"
    start "$name"
done
note "12 restarts, 12 writes"
see "all three hold the same" agree
all_written() { [[ $(at "$1" export 2>/dev/null | wc -l) == 12 ]]; }
see "every write is everywhere" everywhere all_written
three_alive() { is "$1" tidings_members == 3 && is "$1" 'tidings_members{state="alive"' == 3; }
see "there are three members, all of them alive" everywhere three_alive
see "and three replicas: each is still the one it was" everywhere is tidings_context_replicas == 3
see "with two links each" everywhere is tidings_links == 2
see "the state of each takes less than a megabyte on disk" everywhere is tidings_store_bytes "<" 1000000

step "A night of $NIGHT s: six nodes with disks, one of which loses power every 20 s."
simulate --nodes 6 --join all --disks --seconds "$NIGHT" --crashes-per-second 0.05 --back-after 10 --writes-per-second 0.1 --keys 100 --deletes 20%
grep -q '^members known.* 6, 6$' "$work/simulated" || different "there are not six members and six replicas after the night"
note "seen: six members, and six replicas, after all these restarts"
