#!/usr/bin/env bash
# The cluster's secret is rotated while one node is away. Can it come back, and who is shut out in the end?
#
#     bash examples/tryout/rotate-while-away.sh [PATH OF tidings]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# Each has a copy of the secret's file, as on machines of their own.
begin() {
    secret=$work/$1.secret
    [[ -e $secret ]] || cp "$work/secret" "$secret"
    start "$1"
}
copy_to() {
    local name
    for name; do
        cp "$work/secret" "$work/$name.secret"
        echo "     \$ cp cluster.secret $name:"
    done
}
rotate() {
    echo "     \$ tidings secret rotate --secret-file cluster.secret${*:+ $*}"
    "$tidings" secret rotate --secret-file "$work/secret" "$@" 2>&1 | sed "s|$work/secret|cluster.secret|g; s/^/     /"
}
summary() { at node1 secret status 2>&1 | tail -n 1; }
sums_up() { [[ $(summary) == $1 ]]; }

step "Three nodes, each with a copy of the secret; a key at all of them."
begin node1 && begin node2 && begin node3
cp "$work/secret" "$work/old"
on node1 put kettle on
see "all three have it" everywhere shows kettle on

step "node3 goes away. The secret is rotated, and the file copied to the two that can be reached."
end TERM node3
rotate
copy_to node1 node2
see "only node3 lacks the new secret" sums_up "*: node3 (down); *"
note "node1$ tidings secret status: $(summary)"
on node2 put kettle off
see "the two go on as before" everywhere shows kettle off

step "The rotation is not to be finished yet."
if rotate --finish --http "${http[node1]}"; then different "it was finished, and node3 would be kept out"; fi
note "seen: it is refused, because of node3"

step "node3 returns with the old secret."
begin node3
see "it is let in, and has what was written meanwhile" shows node3 kettle off
see "all three hold the same" agree
copy_to node3
see "with the new file it presents the new secret" sums_up "all present *"

step "Now it is finished."
rotate --finish --http "${http[node1]}"
copy_to node1 node2 node3
see "nobody accepts the old one any more" sums_up "all present *, and accept nothing else"
on node3 put kettle gone
see "writes go on" everywhere shows kettle gone

step "Somebody comes who has the old secret and nothing else."
cp "$work/old" "$work/node4.secret"
begin node4
keep 3 "it is not let in (tidings_ready 0)" is node4 tidings_ready == 0
see "and has nothing" lacks node4 kettle
see "node1 counts it among the strangers (tidings_connections_refused_total)" is node1 tidings_connections_refused_total ">=" 1
end TERM node4
see "the three are linked, and hold the same" agree
