#!/usr/bin/env bash
# A key is deleted while a node is away, for longer than anybody remembers the delete. Does the key come back with the node?
#
#     bash examples/tryout/delete-while-away.sh [PATH OF tidings]
#
# Shortened: a delete is remembered for a second, not for an hour. The node is away until no other remembers it.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
settings=(--tombstone-age 1s)

step "Three nodes; a key is at all of them."
start node1 && start node2 && start node3
on node1 put kettle on
see "all three have it" everywhere shows kettle on

step "node3 goes away. The others delete the key, and forget that they have."
end TERM node3
on node2 delete kettle
see "neither has it" everywhere lacks kettle
see "neither remembers the delete (tidings_tombstones 0)" everywhere is tidings_tombstones == 0

step "node3 returns, and cannot reach anybody yet."
pause node1 node2
start node3
see "it still has the key: nobody has told it" shows node3 kettle on

step "It meets the others."
resume node1 node2
see "the key is gone at node3 too" lacks node3 kettle
see "all three hold the same" agree
see "by the rules, not by the repair of what must not be (tidings_defects_total 0)" everywhere is tidings_defects_total == 0
keep 3 "it stays gone, everywhere" everywhere lacks kettle
see "node3 found out by a catch-up, which compares live writes, not deletes" \
    is node3 'tidings_syncs_total{kind="catch_up",result="finished"' ">=" 1
