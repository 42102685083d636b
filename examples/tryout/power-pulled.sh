#!/usr/bin/env bash
# The power is pulled while three nodes are written to. Is anything lost that was acknowledged?
#
#     bash examples/tryout/power-pulled.sh [PATH OF tidings]
#
# First all three nodes are killed at once (kill -9). Then, as root and where the kernel lets it mount a file, the disk under
# them stops as well: what the kernel had not yet written to it is lost, as it is when a machine loses power.
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"
disk=""
at_the_end() { [[ -z $disk ]] || umount -l "$disk" 2>/dev/null || true; }

# Writes at a node one key after the other, until the node is gone, and notes what was acknowledged.
write_at() {
    local number
    for ((number = 1; ; number++)); do
        "$tidings" put "$2/$1/$number" "$number" --http "$3" >/dev/null 2>&1 || return 0
        echo "$2/$1/$number" >>"$work/acknowledged"
    done
}
write_for() {
    local name
    for name in "${!http[@]}"; do write_at "$name" "$1" "${http[$name]}" >/dev/null 2>&1 & done
    sleep "$2"
}
keys_at() { at "$1" export 2>/dev/null | sed -n 's/^{"key":"\([^"]*\)".*/\1/p' | sort; }
has_all() { [[ -z $(comm -23 <(sort "$work/acknowledged") <(keys_at "$1")) ]]; }
check() {
    start node1 && start node2 && start node3
    wait # for puts that were under way when their nodes went
    [[ -s $work/acknowledged ]] || different "no write was acknowledged: too few to tell"
    see "every acknowledged write is at all three nodes: $(wc -l <"$work/acknowledged")" everywhere has_all
    see "all three hold the same" agree
    see "no number was used twice: nobody refuses anybody" everywhere is tidings_links_broken_total == 0
}

step "Three nodes with data directories, and a writer at each, who waits for each answer."
start node1 && start node2 && start node3
write_for killed 2

step "kill -9 of all three at once; then they start again."
end KILL node1 node2 node3
check

step "The same with new nodes on a disk of their own, which is cut off in the middle of the writes."
end TERM node1 node2 node3
missing=$(for tool in mkfs.ext4 mount python3; do command -v "$tool" >/dev/null || echo "$tool"; done)
if ((EUID != 0)) || [[ -n $missing ]]; then
    echo "SKIPPED: $(basename "$0"): cutting off the disk needs root${missing:+ and }${missing//$'\n'/, }" >&2
    exit 0
fi
mkdir "$work/disk"
truncate -s 256M "$work/image"
mkfs.ext4 -q -F "$work/image"
mount -o loop "$work/image" "$work/disk" 2>"$work/mount.log" || {
    echo "SKIPPED: $(basename "$0"): cutting off the disk needs a kernel that mounts a file: $(head -n 1 "$work/mount.log")" >&2
    exit 0
}
disk=$work/disk
data=$disk
: >"$work/acknowledged"
start node1 && start node2 && start node3
write_for cut 2
echo never-synced >"$disk/witness"
# EXT4_IOC_SHUTDOWN without a flush: from this moment the disk takes nothing more, and the kernel's cache is as good as gone.
# What counts is what was acknowledged up to then: programs go on here, as they do not when the power is gone, and a sync that
# the cut has met may be told that all is well.
python3 - "$disk" "$work/acknowledged" "$work/before" <<'PYTHON'
import fcntl, os, struct, sys
disk, acknowledged, before = os.open(sys.argv[1], os.O_RDONLY), open(sys.argv[2], "rb"), open(sys.argv[3], "wb")
told = acknowledged.read()
fcntl.ioctl(disk, 0x8004587D, struct.pack("I", 2))
before.write(told)
PYTHON
end KILL node1 node2 node3
umount "$disk"
mount -o loop "$work/image" "$disk"
[[ ! -s $disk/witness ]] || different "the cut was none: what was never synced has outlived it"
note "seen: what was written last and never synced is gone, so the cut was one"
wait # for puts that were under way
mv "$work/before" "$work/acknowledged"
check
