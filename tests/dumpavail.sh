#!/usr/bin/env bash
# By hand, on a machine with apt: the package archive through three nodes. `bash tests/dumpavail.sh [PATH-TO-TIDINGS]`
# Imports it at one node, reads it back at another, exports at the third; all exports must be the same bytes, also when
# the other two have stopped. tests/cluster.rs does the same with records that it makes.
set -euo pipefail
tidings=$(realpath "${1:-target/release/tidings}")
work=$(mktemp -d)
nodes=()
trap 'kill "${nodes[@]}" 2>/dev/null || true; wait; rm -rf "$work"' EXIT
cd "$work"

apt-cache dumpavail | python3 -c '
import json, sys
record, field = {}, None
def end():
    if record:
        key = "{Package}/{Version}/{Architecture}".format(**record)
        print(json.dumps({"key": key, "value": record}, ensure_ascii=False, separators=(",", ":")))
for line in sys.stdin:
    if not line.strip():
        end()
        record, field = {}, None
    elif line[0] in " \t":
        record[field] += "\n" + line.strip()
    else:
        field, value = line.rstrip("\n").split(":", 1)
        value = value.strip()
        record[field] = int(value) if value.isdigit() else value
end()
' >archive.jsonl
records=$(wc -l <archive.jsonl)
echo "$records records, $(du -h archive.jsonl | cut -f1)"
((records >= 50000)) || { echo "fewer than 50,000: apt-get update first"; exit 1; }

TIDINGS_SECRET=$("$tidings" secret new)
export TIDINGS_SECRET
http=() join=()
for number in 1 2 3; do
    "$tidings" node --in-memory --name "n$number" --listen 127.0.0.1:0 --http 127.0.0.1:0 "${join[@]}" >"n$number" &
    nodes+=($!)
    until [[ -s n$number ]]; do sleep 0.05; done
    read -r _ address _ quic <"n$number"
    http+=("$address")
    join=(--join "$quic")
done

"$tidings" import archive.jsonl --http "${http[0]}"
begin=$EPOCHREALTIME
audit() { "$tidings" status --json --http "$1" | python3 -c 'import json, sys; s = json.load(sys.stdin); print(s["audit"], s["pending"])'; }
until [[ $(audit "${http[0]}") == "$(audit "${http[1]}")" && $(audit "${http[0]}") == "$(audit "${http[2]}")" ]]; do
    sleep 0.05
done
python3 -c "print('all agree', round($EPOCHREALTIME - $begin, 2), 's later')"

python3 - <<'END' >wanted
import json
last = {json.loads(line)["key"]: line for line in open("archive.jsonl")}
print("".join(last[key] for key in sorted(last, key=str.encode)), end="")
END
key=$(sed -n 's/^{"key":"\([^"]*\)".*/\1/p' wanted | tail -n 1)
"$tidings" get "$key" --http "${http[1]}" | head -c 100
echo
for number in 3 2 1; do "$tidings" export --http "${http[number - 1]}" >"export$number"; done
kill "${nodes[0]}" "${nodes[1]}"
wait "${nodes[0]}" "${nodes[1]}"
"$tidings" export --http "${http[2]}" >alone
for export in export1 export2 export3 alone; do cmp wanted "$export"; done
echo "all exports are the import, in the order of keys: $(sha256sum alone | cut -c1-16)"
