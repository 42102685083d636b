#!/usr/bin/env python3
"""Thin links between network namespaces: a switch in user space, for kernels without netem. Needs root and ip.

  node 1 == link 1 ==+
  node 2 == link 2 ==+== switch ---- host            what goes from node to node passes both their links
  node 3 == link 3 ==+

Each namespace has one TUN device, eth0; this program holds the other end of all of them and passes packets on when they
are due. The host (SUBNET.254) reaches every node as if nothing were in between: it is neither shaped, cut nor counted.

  wan.py PREFIX SUBNET COUNT      namespaces PREFIX-1.. with SUBNET.1..

Commands come on stdin, one a line, and each is answered with one line of JSON on stdout; the first line says that all is
ready, or why not. NODE is a number, or `all`.

  shape NODE rate=64000 delay_ms=75 loss=0.01 queue_ms=2000    of its link, each way: bits a second (0: no limit), one way,
                                                               a part of the packets, what may wait before more is lost
  cut NODE | heal NODE            what passes its link is lost, silently, what is on its way included
  flap NODE UP_MS DOWN_MS         cut for DOWN_MS after each UP_MS from now on; 0 0 ends that, healed
  counters                        by node, IP headers included; `sent` is what it gave to its link, lost or not; UDP alone,
                                  as the kernel answers for ports where nobody listens
  record on|off                   off answers with [seconds, from, to, bytes] of each packet that was sent since
  quit                            as the end of stdin

At its end it kills what runs in its namespaces, and deletes them.
"""
import fcntl, heapq, json, os, random, re, select, signal, struct, subprocess, sys, time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
PACKET_BYTES_MAX, PACKETS_AT_ONCE, RECORDED_MAX = 65536, 64, 1_000_000
UDP = 17


def ip(*words):
    done = subprocess.run(["ip", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stdout.strip()}")
    return done.stdout


def delete_namespace(name):
    try:
        for pid in ip("netns", "pids", name).split():
            os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", name)
    except OSError:
        pass  # it is gone, or somebody else does the same


def sweep(prefix):
    """Namespaces of runs that were killed: PREFIX is NAME-PID-SERIAL, and no such process is left."""
    name = prefix.split("-")[0]
    for line in ip("netns", "list").splitlines():
        found = re.match(rf"({name}-(\d+)-\d+-\d+)\b", line)
        if found and not os.path.exists(f"/proc/{found[2]}"):
            delete_namespace(found[1])


class Way:
    """One direction of a link: packets leave one after the other."""

    def __init__(self):
        self.free_at = 0.0

    def leave(self, at, size, link):
        """When a packet that comes at that moment is at the other end; None if too much waits already."""
        if link.rate:
            start = max(at, self.free_at)
            if start - at > link.queue:
                return None
            self.free_at = at = start + size * 8 / link.rate
        return at + link.delay


class Link:
    def __init__(self):
        self.rate, self.delay, self.loss, self.queue = 0.0, 0.0, 0.0, 2.0
        self.up, self.down = Way(), Way()
        self.cut, self.flap, self.turn_at = False, None, None
        self.counters = dict.fromkeys(
            ["sent_bytes", "sent_packets", "received_bytes", "received_packets", "lost_packets", "dials"], 0)

    def shape(self, rate=None, delay_ms=None, loss=None, queue_ms=None):
        self.rate = self.rate if rate is None else float(rate)
        self.delay = self.delay if delay_ms is None else float(delay_ms) / 1000
        self.loss = self.loss if loss is None else float(loss)
        self.queue = self.queue if queue_ms is None else float(queue_ms) / 1000

    def start_flapping(self, up, down, now):
        self.flap = (up, down) if up and down else None
        self.cut, self.turn_at = False, now + up if self.flap else None

    def turn(self):
        self.cut = not self.cut
        self.turn_at += self.flap[1] if self.cut else self.flap[0]


class Dials:
    """Attempts to connect, told by QUIC's first packets: an Initial from a connection id that is new, and to one that
    nobody has named as its own."""

    def __init__(self):
        self.known = set()

    def is_new(self, packet):
        begin = (packet[0] & 15) * 4
        if packet[9] != UDP or len(packet) < begin + 16 or packet[begin + 8] & 0xB0 != 0x80:
            return False
        at = begin + 13
        to, at = packet[at + 1:at + 1 + packet[at]], at + 1 + packet[at]
        own = packet[at + 1:at + 1 + packet[at]] if at < len(packet) else b""
        is_new = own not in self.known and to not in self.known
        self.known.add(own)
        return is_new


class Switch:
    def __init__(self, prefix, subnet, count):
        self.prefix, self.subnet = prefix, subnet
        self.devices, self.links, self.on_way, self.order = {}, {}, [], 0
        self.dials, self.recorded = Dials(), None
        self.namespaces = [f"{prefix}-{number}" for number in range(1, count + 1)]
        self.poll = select.epoll()

    def build(self):
        _, pid, serial = self.prefix.split("-")
        host = f"tw{pid}s{serial}"
        self.attach(254, host, None)
        for number, name in enumerate(self.namespaces, 1):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
            self.attach(number, f"{host}n{number}", name)
            self.links[number] = Link()

    def attach(self, number, device, namespace):
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22s", device.encode(), IFF_TUN | IFF_NO_PI, b""))
        there = []
        if namespace:
            ip("link", "set", device, "netns", namespace, "name", "eth0")
            there, device = ["-n", namespace], "eth0"
        ip(*there, "addr", "add", f"{self.subnet}.{number}/24", "dev", device)
        ip(*there, "link", "set", device, "txqueuelen", "10000", "up")
        self.devices[number] = fd
        self.poll.register(fd, select.EPOLLIN)

    def run(self):
        """One thread for everything: packets, what is due, commands."""
        number_of = {fd: number for number, fd in self.devices.items()}
        stdin, pending = sys.stdin.fileno(), b""
        os.set_blocking(stdin, False)
        self.poll.register(stdin, select.EPOLLIN)
        while True:
            for fd, _ in self.poll.poll(self.wait()):
                if fd in number_of:
                    self.take_all(number_of[fd], fd)
                    continue
                read = os.read(stdin, PACKET_BYTES_MAX)
                *lines, pending = (pending + read).split(b"\n")
                for line in lines:
                    if line == b"quit":
                        return
                    print(json.dumps(self.command(line.decode().split())), flush=True)
                if not read:
                    return
            self.pass_on()

    def wait(self):
        turns = [link.turn_at for link in self.links.values() if link.turn_at]
        due = min([*turns, *([self.on_way[0][0]] if self.on_way else [])], default=None)
        return -1 if due is None else max(0.0, due - time.monotonic())

    def take_all(self, source, fd):
        for _ in range(PACKETS_AT_ONCE):
            try:
                packet = os.read(fd, PACKET_BYTES_MAX)
            except BlockingIOError:
                return
            if len(packet) >= 20 and packet[0] >> 4 == 4:
                self.take(source, packet)

    def take(self, source, packet):
        target, now = packet[19], time.monotonic()
        if target not in self.devices:
            return
        a, b, due = self.links.get(source), self.links.get(target), now
        if a and b:
            self.count(a, source, target, packet, now)
            due = self.due(a, b, len(packet), now)
            if due is None:
                a.counters["lost_packets"] += 1
                return
        self.order += 1
        heapq.heappush(self.on_way, (due, self.order, source, target, packet))

    def count(self, link, source, target, packet, now):
        if packet[9] != UDP:
            return
        link.counters["sent_bytes"] += len(packet)
        link.counters["sent_packets"] += 1
        link.counters["dials"] += self.dials.is_new(packet)
        if self.recorded is not None and len(self.recorded) < RECORDED_MAX:
            self.recorded.append((now, source, target, len(packet)))

    def due(self, a, b, size, now):
        if a.cut or b.cut or random.random() < a.loss or random.random() < b.loss:
            return None
        between = a.up.leave(now, size, a)
        return None if between is None else b.down.leave(between, size, b)

    def pass_on(self):
        now = time.monotonic()
        for link in self.links.values():
            while link.turn_at and link.turn_at <= now:
                link.turn()
        while self.on_way and self.on_way[0][0] <= now:
            _, _, source, target, packet = heapq.heappop(self.on_way)
            a, b = self.links.get(source), self.links.get(target)
            if a and b:
                if a.cut or b.cut:
                    a.counters["lost_packets"] += 1
                    continue
                if packet[9] == UDP:
                    b.counters["received_bytes"] += len(packet)
                    b.counters["received_packets"] += 1
            try:
                os.write(self.devices[target], packet)
            except OSError:
                pass  # the device is full or down: lost, as on any link

    def command(self, words):
        try:
            return self.execute(*words)
        except (ValueError, LookupError, TypeError) as error:
            return {"error": f"{' '.join(words)}: {error}"}

    def execute(self, name, *rest):
        if name == "counters":
            return {"at": time.monotonic(), "nodes": [link.counters for link in self.links.values()]}
        if name == "record":
            recorded, self.recorded = self.recorded, [] if rest[0] == "on" else None
            return {"packets": recorded or []}
        for number in self.links if rest[0] == "all" else [int(rest[0])]:
            link = self.links[number]
            if name == "shape":
                link.shape(**dict(word.split("=") for word in rest[1:]))
            elif name == "flap":
                link.start_flapping(*(float(ms) / 1000 for ms in rest[1:]), time.monotonic())
            elif name in ("cut", "heal"):
                link.cut = name == "cut"
            else:
                raise ValueError("no such command")
        return {"at": time.monotonic()}

    def close(self):
        for name in self.namespaces:
            delete_namespace(name)


def main():
    prefix, subnet, count = sys.argv[1:]
    # Who started this ends it by closing stdin; an interrupt of the terminal must not end the cleaning up.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    switch = Switch(prefix, subnet, int(count))
    try:
        try:
            sweep(prefix)
            switch.build()
        except OSError as error:
            print(json.dumps({"error": str(error)}), flush=True)
            return
        print(json.dumps({"ready": True}), flush=True)
        switch.run()
    finally:
        switch.close()


if __name__ == "__main__":
    main()
