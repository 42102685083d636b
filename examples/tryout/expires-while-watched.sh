#!/usr/bin/env bash
# A key expires while it is watched. Who is told, when, and by whom?
#
#     bash examples/tryout/expires-while-watched.sh [PATH OF tidings]
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

watch() { # NAME FILE FLAG…: in the background
    : >"$work/$2"
    "$tidings" watch --json "${@:3}" --http "${http[$1]}" >"$work/$2" 2>/dev/null &
    pid[$2]=$!
    disown
}
# FILE WHAT TIMES
has_told() { (($(grep -c "\"event\":\"$2\"" "$work/$1") == $3)); }
both_told() { has_told watched1 "$@" && has_told watched2 "$@"; }

step "Two nodes, each watched; a key that lives for three seconds."
start node1 && start node2
see "they are linked" everywhere is tidings_links == 1
watch node1 watched1
watch node2 watched2
see "both are watched" everywhere is tidings_watchers == 1
on node1 put tea hot --ttl 3s
see "both watchers are told of it" both_told put 1

step "It is renewed before it expires."
on node2 put tea warm --ttl 6s
see "both are told of the new value" both_told put 2
received() { for name in node1 node2; do figure "$name" tidings_dots_received_total; done; }
see "all hold the same" agree
before=$(received)
sleep 3
both_told expired 0 || different "it has expired with the deadline that was replaced"
note "seen: the deadline that was replaced has passed, and nothing expired"

step "It expires."
see "both watchers are told" both_told expired 1
see "it is gone at both" everywhere lacks tea
[[ $before == "$(received)" ]] || different "something was sent for the expiry"
note "seen: nobody has sent anything for it: each node goes by its own clock"
sed 's/^/     node2 told  /' "$work/watched2"
keep 1 "and nobody is told twice" both_told expired 1

step "Somebody who was not there asks node2 for what came after the first value at node1."
cursor=$(sed -n '1s/.*"cursor":"\([^"]*\)".*/\1/p' "$work/watched1")
watch node2 later --after "$cursor"
see "it is told that the key has expired" has_told later expired 1
sed 's/^/     node2 told  /' "$work/later"
