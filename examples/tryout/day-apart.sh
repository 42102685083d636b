#!/usr/bin/env bash
# A node is cut off, and both sides go on writing. Do they come together, and to what?
#
#     bash examples/tryout/day-apart.sh [PATH OF tidings]
#
# Shortened: the real nodes are apart for 20 s, which is longer than every timeout of a link (2 s until it is lost, 4 s until its
# peer is down, 16 s until its connection is given up). The whole day, longer than the hour for which deletes are remembered, goes
# by in the simulator: the same code in virtual time.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

step "A demo of three nodes."
launch demo demo --nodes 3
until grep -q dashboard "$work/demo.out"; do sleep 0.05; done
for name in node1 node2 node3; do
    http[$name]=$(sed -n "s/^$name  \(http[^ ]*\)  .*/\1/p" "$work/demo.out")
done
on node1 put kettle on
on node1 put pot full
see "all three have both" everywhere shows pot full

# The buttons of the dashboard: what node3 says is dropped, and what is said to it.
turn() {
    printf '     demo> %s 3\n' "$1"
    page node1 "/v1/demo/$1?node=3" POST | grep -q '"cut"'
}

step "node3 is cut off: nobody is told, its datagrams go nowhere. Both sides write."
turn cut
cut_at=$SECONDS
on node1 put kettle off
on node2 delete pot
on node3 put pot "half full"
on node3 put cup clean
see "for the others node3 is down" is node1 'tidings_members{state="down"' == 1
see "for node3 the others are" is node3 'tidings_members{state="down"' == 2
apart() { shows node1 kettle off && lacks node1 cup && shows node3 kettle on && shows node3 cup clean; }
see "each side has its own writes only" apart

step "Meanwhile a day, in the simulator: eight nodes, four of them cut off for all of it; a write every 20 s, a third of them deletes."
simulate --nodes 8 --disks --seconds 86400 --partition 50%@0..86400 --writes-per-second 0.05 --keys 100 --deletes 33%
grep -q '^all agree.* after ' "$work/simulated" || different "they do not agree after a day apart"
note "seen: a day apart, and all agree $(sed -n 's/^all agree.* after/after/p' "$work/simulated")"

step "The real one is healed when 20 s have passed; nobody writes anything or tells them."
while ((SECONDS - cut_at < 20)); do sleep 0.2; done
turn heal
see "all three hold the same" agree
see "who has overwritten what it had seen has overwritten it" everywhere shows kettle off
see "a put beside a delete that has not seen it stays" everywhere shows pot "half full"
see "what was written over there is everywhere" everywhere shows cup clean
see "nobody is down any more" everywhere is 'tidings_members{state="alive"' == 3
