"""The control plane: from a changed verdict to the swapped table, the first load, an idle tick, kernel memory."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TypeVar

from dataplane import hashing
from dataplane.apply import apply
from dataplane.bench import configurations
from dataplane.bench.configurations import Size
from dataplane.bench.forwarder import Loaded
from dataplane.bench.results import Figure, Goal
from dataplane.bench.sandbox import BenchError
from dataplane.change import compile_change, resolve_change
from dataplane.compile import compile_tables
from dataplane.desired import Configuration, resolve
from dataplane.forwarding import Forwarding, Mode, Wish
from dataplane.kernel.libbpf import Map
from dataplane.layout import RING_SIZE
from dataplane.plan import plan
from dataplane.ports import Interface, Neighbour, ProbeRoute
from dataplane.reconcile import Reconciler
from dataplane.steps import Table
from dataplane.tables import MAX_VSERVERS, IPAddress, Tables

CHANGES = 30
TICKS = 12
MEBI = 1 << 20

Value = TypeVar("Value")

FULL_LOADS = {
    "10,000 services, 100 vservers × 100": Size(vservers=100, services=100, groups=100),
    "10,000 services, 1,000 vservers × 10": Size(vservers=1000, services=10, groups=1000),
}
CHANGED = Size(vservers=1000, services=10, groups=1000)


class _Stopwatch:
    """Seconds by phase; the same phase again adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, phase: str, work: Callable[[], Value]) -> Value:
        started = time.perf_counter()
        value = work()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - started
        return value


def full_load(loaded: Loaded, name: str, size: Size) -> Figure:
    """From a configuration and empty tables to full ones. Raises BenchError when the kernel refuses."""
    configuration, neighbours = configurations.configuration(size), configurations.neighbours(size)
    hashing.clear_caches()
    watch = _Stopwatch()
    desired = watch.time("resolve", lambda: resolve(configuration, configurations.interfaces(), neighbours))
    wanted = watch.time("compile", lambda: compile_tables(desired, Tables()))
    steps = watch.time("plan", lambda: plan(wanted, Tables()))
    applied = watch.time("apply", lambda: apply(steps, loaded.maps))
    if not applied.complete:
        raise BenchError(f"{name}: {applied.error}")
    loaded.tables = wanted
    return Figure(
        "control plane",
        f"full load, {name}",
        "s",
        sum(watch.seconds.values()),
        goal=Goal("≤", 3.0),
        raw={f"{phase} s": seconds for phase, seconds in watch.seconds.items()},
    )


def rounds(loaded: Loaded) -> Iterator[Figure]:
    """Whole rounds of a reconciler on the loaded tables, which must be those of :data:`CHANGED`."""
    reconciler = Reconciler(loaded.maps, FixedLinks(), FixedNeighbours(CHANGED), None, ())
    unchanged = configurations.configuration(CHANGED)
    _round(reconciler, unchanged)
    idle = [_round(reconciler, unchanged) for _ in range(TICKS)]
    changes = []
    for number in range(CHANGES):
        # A service goes down, and comes back
        down = frozenset() if number % 2 else frozenset({1 + 5 * number})
        changes.append(_round(reconciler, configurations.configuration(CHANGED, down=down)))
    name = "whole round for one service's verdict, 1,000 vservers"
    spread = (min(changes) * 1e3, max(changes) * 1e3)
    yield Figure("control plane", f"{name}, p50", "ms", median(changes) * 1e3, spread, raw=_phases(loaded))
    yield Figure("control plane", f"{name}, max", "ms", max(changes) * 1e3)
    yield Figure(
        "control plane", "tick without news, p50", "ms", median(idle) * 1e3, (min(idle) * 1e3, max(idle) * 1e3)
    )
    read = _Stopwatch()
    read.time("read", loaded.maps.read)
    yield Figure("control plane", "reading all maps back", "ms", read.seconds["read"] * 1e3)


def committed(object_path: Path, pins: Path) -> Iterator[Figure]:
    """The same from the committed row, by :mod:`dataplane.bench.committed`. Raises BenchError."""
    with TemporaryDirectory(prefix="halfpipe-bench") as folder:
        environment = {
            **os.environ,
            "HALFPIPE_DATABASE_URL": f"sqlite:///{folder}/db.sqlite3",
            "HALFPIPE_SECRET_KEY_FILE": f"{folder}/secret-key",
        }
        command = [sys.executable, "-m", "dataplane.bench.committed", "--object", str(object_path), "--pins", str(pins)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise BenchError(f"{' '.join(command[1:3])} failed: {done.stderr[-400:]}")
    found = json.loads(done.stdout)
    taken = found["swapped"]
    name = "one service's committed row → swapped ring, 1,000 vservers"
    raw = {f"{phase} ms": median(times) for phase, times in found.items()}
    yield Figure("control plane", f"{name}, p50", "ms", median(taken), (min(taken), max(taken)), Goal("≤", 20.0), raw)
    yield Figure("control plane", f"{name}, max", "ms", max(taken))


def _round(reconciler: Reconciler, configuration: Configuration) -> float:
    started = time.perf_counter()
    done = reconciler.round(configuration)
    taken = time.perf_counter() - started
    if done.error:
        raise BenchError(f"a round failed: {done.error}")
    return taken


def _phases(loaded: Loaded) -> dict[str, float]:
    """Median milliseconds of a change's parts, each called by itself."""
    seconds: dict[str, list[float]] = {}
    last = configurations.configuration(CHANGED)
    state = resolve(last, configurations.interfaces(), configurations.neighbours(CHANGED))
    observed = loaded.maps.read()
    for number in range(10):
        down = frozenset({5 + 5 * number}) if number % 2 else frozenset()
        configuration, watch = configurations.configuration(CHANGED, down=down), _Stopwatch()
        desired = watch.time("resolve", lambda: resolve_change(last, state, configuration)) or state  # noqa: B023
        wanted = watch.time("compile", lambda: compile_change(state, desired, observed)) or observed  # noqa: B023
        steps = watch.time("plan", lambda: plan(wanted, observed))  # noqa: B023
        applied = watch.time("apply", lambda: apply(steps, loaded.maps))  # noqa: B023
        if not applied.complete or (number and not steps):
            raise BenchError(f"a change was not applied: {applied.error or 'no step was planned'}")
        last, state, observed = configuration, desired, wanted
        for phase, taken in watch.seconds.items():
            seconds.setdefault(f"{phase} ms", []).append(taken * 1e3)
    return {phase: median(taken) for phase, taken in seconds.items()}


def memory(loaded: Loaded) -> Iterator[Figure]:
    """Kernel memory of the maps now, and when every table is full."""
    fixed = sum(_locked(opened) for opened in loaded.forwarder.maps.values())
    ring = Map.create_array("ring", RING_SIZE)
    try:
        of_ring = _locked(ring)
    finally:
        ring.close()
    rings = {bytes(inner) for _, inner in loaded.forwarder.maps[Table.RINGS].items()}
    raw = {"rings": len(rings), "KiB a ring": of_ring / 1024, "MiB without rings": fixed / MEBI}
    now = fixed + of_ring * len(rings)
    yield Figure("control plane", "kernel memory now, 1,000 vservers", "MiB", now / MEBI, raw=raw)
    most = fixed + of_ring * (MAX_VSERVERS - 1)
    yield Figure("control plane", f"kernel memory at most, {MAX_VSERVERS - 1:,} vservers", "MiB", most / MEBI)


def _locked(opened: Map) -> int:
    """Bytes the kernel accounts for a map (proc(5), fdinfo of a map: memlock)."""
    found = re.search(r"^memlock:\s*(\d+)", Path(f"/proc/self/fdinfo/{opened.fd}").read_text(), re.MULTILINE)
    if not found:
        raise BenchError(f"the kernel does not tell the memory of map {opened.name}")
    return int(found[1])


@dataclass(slots=True)
class FixedLinks:
    """Two interfaces that never change, for rounds that need no netlink."""

    def interfaces(self) -> tuple[Interface, ...]:
        """Those of the configurations."""
        return configurations.interfaces()

    def ensure_attached(self, ifindexes: Collection[int]) -> list[str]:
        """Nothing is to be done."""
        del ifindexes
        return []

    def ensure_modes(self, ifindexes: Collection[int], wish: Wish) -> tuple[list[str], Mapping[int, Forwarding]]:
        """All of them forward by tc."""
        del wish
        return [], {index: Forwarding(Mode.TC, "") for index in ifindexes}

    def ensure_probe_device(self, routes: Collection[ProbeRoute]) -> Interface:
        """Any interface will do: no probe is sent."""
        del routes
        return configurations.interfaces()[0]

    def announce(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Nobody listens."""
        del ifindex, addresses

    def ensure_solicited(self, ifindex: int, addresses: Collection[IPAddress]) -> None:
        """Nobody solicits."""
        del ifindex, addresses


class FixedNeighbours:
    """Neighbours that never change."""

    def __init__(self, size: Size) -> None:
        self._table = configurations.neighbours(size)

    def watch(self, targets: Collection[tuple[int, IPAddress]]) -> None:
        """They stay as they are."""
        del targets

    def table(self) -> dict[tuple[int, IPAddress], Neighbour]:
        """Every server of the size."""
        return self._table
