#!/usr/bin/env bash
# The clock of one node is an hour ahead. Does it win every write, and does it take the others along?
#
#     bash examples/tryout/clock-ahead.sh [PATH OF tidings]
#
# Needs faketime (the package of that name): it tells one node another time than the others.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
command -v faketime >/dev/null || skip "it needs faketime (apt-get install faketime)"

# Not `faketime -f +1h tidings`: that would be a process between this one and the node.
start_ahead() {
    under=(env FAKETIME=+1h "LD_PRELOAD=$(faketime -f +1h sh -c 'echo "$LD_PRELOAD"')")
    start "$1"
    under=()
}

step "Three nodes; the clock of node2 is an hour ahead, and it writes."
start node1 && start node3
start_ahead node2
on node2 put kettle "from tomorrow"
see "all three have it" everywhere shows kettle "from tomorrow"
see "node1 has noticed (tidings_clock_ahead_total)" is node1 tidings_clock_ahead_total ">=" 1
see "its own clock does not follow (tidings_clock_lead_seconds)" is node1 tidings_clock_lead_seconds "<=" 60

step "node1, whose clock is right, overwrites what it has seen."
on node1 put kettle "from today"
see "the write that has seen the other wins, at node2 too" everywhere shows kettle "from today"

step "Neither has seen the other: node1 writes while node2 is away, and node2 before it hears of that."
end TERM node2
on node1 put pot "from today"
see "node3 has it" shows node3 pot "from today"
pause node1 node3
start_ahead node2
on node2 put pot "from tomorrow"
resume node1 node3
see "only here the clock decides" everywhere shows pot "from tomorrow"
sibling_kept() { at node1 get pot --siblings | grep -q "from today"; }
see "the other value is kept as its sibling" sibling_kept
on node1 put pot "settled"
see "one more write settles it" everywhere shows pot "settled"

step "A value that lives for half an hour is over at node2, and is not at node1: each goes by its own clock."
on node1 put tea hot --ttl 30m
see "node1 shows it" shows node1 tea hot
see "node2 has it too: they hold the same" agree
see "node2 takes it for expired" lacks node2 tea

step "The clock of node2 is set right; it starts again, and overwrites what it wrote itself in the hour to come."
end TERM node2
start node2
on node2 put pot "from now on"
see "its write wins over its own of tomorrow" everywhere shows pot "from now on"
see "all three hold the same" agree
