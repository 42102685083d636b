#!/usr/bin/env bash
# A node has lost its disk, and there is a backup of yesterday. Does what was deleted since come back, and what was written go?
#
#     bash examples/tryout/yesterdays-backup.sh [PATH OF tidings]
#
# Shortened: yesterday is a moment ago, and deletes are remembered for a second: longer than the backup is old.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
settings=(--tombstone-age 1s)

step "Three nodes; a checkpoint of node3, while it runs, and a copy of its files, for comparison."
start node1 && start node2 && start node3
on node3 put kettle "of yesterday"
on node3 put pot "of yesterday"
see "all three have both" everywhere shows pot "of yesterday"
at node3 checkpoint "$work/backup" 2>&1 | sed "s|$work/||; s/^/     /"
"$tidings" verify "$work/backup" | sed "s/^/     /"
end TERM node3
cp -r "$work/node3" "$work/copy"
start node3

step "Today: one key is deleted and another overwritten, by node3 itself. The delete is forgotten. Then its disk is gone."
on node3 delete pot
on node3 put kettle "of today"
on node3 put cup "of today"
see "all three have that" everywhere shows cup "of today"
see "nobody remembers the delete" everywhere is tidings_tombstones == 0
end KILL node3
rm -r "$work/node3"

step "The wrong way: the copy of its files is put back, and started."
cp -r "$work/copy" "$work/node3"
start node3
refused() { grep -q "a peer knows writes of this replica that are not here" "$work/node3.log"; }
see "the others refuse it: it would use its numbers for other writes" refused
grep -h "ERROR" "$work/node3.log" | head -n 1 | sed 's/^[^ ]* */     /'
see "it has no link" is node3 tidings_links == 0
see "nothing of it reaches the others" shows node1 kettle "of today"
end KILL node3
rm -r "$work/node3"

step "The right way: the checkpoint is restored, as a new replica."
"$tidings" restore "$work/backup" --data-dir "$work/node3" | sed "s|$work/||g; s/^/     /"
start node3
up_to_date() { shows node3 kettle "of today" && shows node3 cup "of today"; }
see "it has what was written since, its own writes too" up_to_date
see "what was deleted since stays deleted" everywhere lacks pot
see "all three hold the same" agree
see "there are three alive members" everywhere is 'tidings_members{state="alive"' == 3
on node3 put cup full
see "its writes are taken" everywhere shows cup full
keep 2 "what was deleted stays deleted" everywhere lacks pot
