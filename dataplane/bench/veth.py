"""Frames through a director from veth to veth: the forwarder, nftables' DSR rules and a bare redirect in turn.

The generator is an XDP program run by BPF_PROG_TEST_RUN with BPF_F_TEST_XDP_LIVE_FRAMES: the kernel makes a buffer of
each frame and lets the interface ``near`` receive it. From there on everything is as for frames of a wire: the ingress
hook, the queue-less send by ``egress``, the receiving ``server`` in another namespace, where a program counts and
drops. One CPU does all of it, so nothing is lost for lack of room, and frames a second are the inverse of what one
frame costs from end to end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from statistics import median

from pyroute2 import IPRoute

from dataplane.bench import configurations
from dataplane.bench.configurations import Size
from dataplane.bench.forwarder import Loaded
from dataplane.bench.harness import Harness
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import FAR, NEAR_IFINDEX, BenchError, run
from dataplane.kernel.filters import INGRESS_PARENT, ensure_filter, remove_filter
from dataplane.kernel.loader import INGRESS
from dataplane.lab.netns import entered

FRAMES = 32_768  # each client once
SHOTS = 4
ROUNDS = 5
CLIENTS = 32_768
_SINK, _BARE = "bench_sink", "bench_bare"

SIZES = {
    "1 VIP, 3 servers": Size(vservers=1, services=3, groups=1),
    "100 VIPs, 100 servers": Size(vservers=100, services=100, groups=1),
}
# Best case: one look-up for the VIP. The others: one rule a VIP, as the manual's example would be repeated.
_RULES = {"nftables, verdict map": True, "nftables, rule a VIP": False}


@dataclass(frozen=True, slots=True)
class Contender:
    """``attached`` puts it at the ingress of ``near`` for the block; ``servers``: MACs that must have got frames."""

    name: str
    attached: Callable[[], AbstractContextManager[None]]
    servers: int


def measure(harness: Harness, forwarder: Loaded, name: str, size: Size) -> list[Figure]:
    """Frames a second of each contender in ratio to the first, alternating. ``forwarder`` must be filled for ``size``.

    Raises BenchError when a frame did not arrive, or not every server got some.
    """
    harness.use(configurations.flows(CLIENTS, size.vservers))
    contenders = _contenders(harness, forwarder, size)
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with _far_end(harness):
        for number in range(ROUNDS):
            order = [*contenders, *reversed(contenders)] if number % 2 else [*reversed(contenders), *contenders]
            times = dict.fromkeys(rates, 0.0)
            for contender in order:
                with contender.attached():
                    times[contender.name] += _seconds(contender, harness)
            for key, taken in times.items():
                rates[key].append(2 * FRAMES / taken)
    return list(_figures(name, rates))


def _figures(size_name: str, rates: dict[str, list[float]]) -> Iterator[Figure]:
    ours = rates["forwarder"]
    for rival, theirs in rates.items():
        if rival == "forwarder":
            continue
        ratios = sorted(mine / other for mine, other in zip(ours, theirs, strict=True))
        goal = Goal("≥", 1.0) if rival.startswith("nftables") else None
        raw = {"Mpps": median(ours) / 1e6, f"{rival} Mpps": median(theirs) / 1e6}
        yield Figure(
            f"veth to veth, {size_name}", f"÷ {rival}", "×", median(ratios), (ratios[0], ratios[-1]), goal, raw
        )


def _seconds(contender: Contender, harness: Harness) -> float:
    """Fastest of some shots: what runs beside the bench only ever makes one slower."""
    before, shots = harness.delivered(), []
    for _ in range(SHOTS):
        # Wall clock: the far end may work in a softirq, which is nobody's CPU time.
        started = time.perf_counter()
        harness.receive(FRAMES)
        shots.append(time.perf_counter() - started)
    after = harness.delivered()
    got = {mac: after[mac] - before.get(mac, 0) for mac in after if after[mac] != before.get(mac, 0)}
    arrived, sent = sum(got.values()), SHOTS * FRAMES
    if arrived != sent or len(got) != contender.servers:
        where = f"{len(got)} of {contender.servers} servers"
        raise BenchError(f"{contender.name}: {arrived} of {sent} frames arrived, at {where}")
    return min(shots)


def _contenders(harness: Harness, forwarder: Loaded, size: Size) -> Sequence[Contender]:
    def filtered(fd: int, name: str) -> Callable[[], AbstractContextManager[None]]:
        return lambda: _filter(fd, name)

    def ruled(verdict_map: bool) -> Callable[[], AbstractContextManager[None]]:
        return lambda: _nftables(rules(size, verdict_map=verdict_map))

    return (
        Contender("forwarder", filtered(forwarder.forwarder.ingress_fd, INGRESS), size.services),
        Contender("bare redirect", filtered(harness.programs["floor_tc"], _BARE), 1),
        *(Contender(name, ruled(verdict_map), size.services) for name, verdict_map in _RULES.items()),
    )


@contextmanager
def _filter(fd: int, name: str) -> Iterator[None]:
    with IPRoute() as ip:
        ensure_filter(ip, NEAR_IFINDEX, INGRESS_PARENT, fd, name)
        try:
            yield
        finally:
            remove_filter(ip, NEAR_IFINDEX, INGRESS_PARENT, name)


@contextmanager
def _nftables(text: str) -> Iterator[None]:
    run("nft", "-f", "-", text=text)
    try:
        yield
    finally:
        run("nft", "flush", "ruleset")


@contextmanager
def _far_end(harness: Harness) -> Iterator[None]:
    """Count and drop at the servers' interface."""
    with entered(FAR), IPRoute() as ip:
        ifindex = ip.link_lookup(ifname="server")[0]
        ensure_filter(ip, ifindex, INGRESS_PARENT, harness.programs["sink_tc"], _SINK)
    yield


def rules(size: Size, *, verdict_map: bool) -> str:
    """DSR by nftables at the ingress of ``near`` (nft(8), netdev): hash the client, set MACs, forward to ``egress``."""
    choice = ", ".join(f"{number} : {configurations.server_mac(number).hex(':')}" for number in range(size.services))
    action = (
        f"ether saddr set 02:bb:00:00:00:01 ether daddr set jhash ip saddr mod {size.services} seed 0x1234 "
        f"map {{ {choice} }} fwd to egress"
    )
    vips = [configurations.vip(number) for number in range(size.vservers)]
    hook = "type filter hook ingress device near priority 0;"
    if not verdict_map:
        lines = "\n".join(f"  ip daddr {vip} tcp dport {size.port} {action}" for vip in vips)
        return f"table netdev bench {{\n chain ingress {{ {hook}\n{lines}\n }}\n}}\n"
    chains = "\n".join(f" chain vip{number} {{ {action}\n }}" for number in range(len(vips)))
    verdicts = ", ".join(f"{vip} . {size.port} : goto vip{number}" for number, vip in enumerate(vips))
    return (
        f"table netdev bench {{\n{chains}\n chain ingress {{ {hook}\n"
        f"  ip daddr . tcp dport vmap {{ {verdicts} }}\n }}\n}}\n"
    )
