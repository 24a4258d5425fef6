"""``python -m dataplane.bench.committed``: from the committed row of a verdict to the swapped ring, as in the worker.

A program of its own, since the benchmark knows no Django; it prints JSON. Rows are in an SQLite file of its own, 1,000
virtual servers of 10 services each with a health check, the maps those of a forwarder that it loads under ``--pins``.
The network does not change. The time begins when the transaction that records the verdict has ended. It ends when a
look at the kernel's table finds another ring there ("swapped"), and again when the round has ended: the kernel lets
the system call return only when no program can still see the former ring. The message that wakes the worker, some
tenths of a millisecond, is not part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from django.core.management import call_command  # noqa: E402 - Django must be set up before models are imported
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from dataplane import layout  # noqa: E402
from dataplane.bench import configurations  # noqa: E402
from dataplane.bench.configurations import Size  # noqa: E402
from dataplane.bench.control import CHANGED, FixedLinks, FixedNeighbours  # noqa: E402
from dataplane.bench.forwarder import loaded  # noqa: E402
from dataplane.bench.sandbox import BenchError  # noqa: E402
from dataplane.desired import Configuration  # noqa: E402
from dataplane.kernel.libbpf import Map  # noqa: E402
from dataplane.reconcile import Reconciler  # noqa: E402
from dataplane.snapshot import Mark, Reader, mark  # noqa: E402
from dataplane.steps import Table  # noqa: E402
from webui.choices import State  # noqa: E402
from webui.models import (  # noqa: E402
    HealthState,
    HealthTransition,
    Installation,
    Monitor,
    ProbeTarget,
    Server,
    Service,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)

CHANGES = 40
_LOOK_SECONDS = 0.0003
_FIRST_PROBE = int(ip_address("198.18.0.1"))


def make_rows(size: Size) -> None:
    """The rows of :func:`configurations.configuration` of that size, every service UP at its vserver's VIP."""
    numbers = range(size.vservers * size.services)
    with transaction.atomic():
        Installation.objects.get_or_create(pk=1)
        monitor = Monitor.objects.create(name="bench", monitor_type="TCP")
        servers = Server.objects.bulk_create(
            Server(name=f"server{n}", address=str(configurations.server(n))) for n in numbers
        )
        services = Service.objects.bulk_create(
            Service(name=f"service{n}", server=servers[n], service_type="TCP", port=configurations.PORT)
            for n in numbers
        )
        vservers = VServer.objects.bulk_create(
            VServer(
                name=f"vserver{n}", address=str(configurations.vip(n)), service_type="TCP", port=configurations.PORT
            )
            for n in range(size.vservers)
        )
        owner = [vservers[n // size.services] for n in numbers]
        VServerServiceBinding.objects.bulk_create(
            VServerServiceBinding(vserver=owner[n], service=services[n]) for n in numbers
        )
        ServiceMonitorBinding.objects.bulk_create(
            ServiceMonitorBinding(service=one, monitor=monitor) for one in services
        )
        targets = ProbeTarget.objects.bulk_create(
            ProbeTarget(vip=owner[n].address, server=servers[n], address=str(ip_address(_FIRST_PROBE + n)))
            for n in numbers
        )
        HealthState.objects.bulk_create(
            HealthState(target=targets[n], service=services[n], monitor=monitor, state=State.UP) for n in numbers
        )


def record(row: HealthState, state: State) -> None:
    """A verdict, as the checks record it."""
    with transaction.atomic():
        HealthTransition.objects.create(
            service=row.service,
            service_name=row.service.name,
            monitor_name="bench",
            vip=row.target.vip,
            old=row.state,
            new=state,
            reason="bench",
        )
        row.state = state
        row.since = timezone.now()
        row.save(update_fields=["state", "since"])


@dataclass(slots=True)
class Watch:
    """Looks at the rings of the kernel's table from a thread, to see when one is swapped."""

    rings: Map
    vserver_id: int
    seen_at: float = 0.0
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Look from now on, until the ring is another."""
        before, self.seen_at = self._ring(), 0.0

        def look() -> None:
            deadline = time.perf_counter() + 5
            while self._ring() == before and time.perf_counter() < deadline:
                time.sleep(_LOOK_SECONDS)
            self.seen_at = time.perf_counter()

        self._thread = threading.Thread(target=look)
        self._thread.start()

    def end(self) -> float:
        """When it was."""
        if self._thread is None:
            raise BenchError("nobody looks")
        self._thread.join()
        return self.seen_at

    def _ring(self) -> bytes | None:
        """Id of the ring's map."""
        return self.rings.lookup(layout.pack_id(self.vserver_id))


def measure(reconciler: Reconciler, rings: Map) -> dict[str, list[float]]:
    """Milliseconds of each change: until the rows are read, until the ring is swapped, until the round has ended."""
    reader = Reader()
    known: Mark
    known, configuration = reader.read(timezone.now())
    _round(reconciler, configuration)
    _round(reconciler, configuration)
    rows = list(HealthState.objects.select_related("target", "service")[:: size_step()])
    ids = {entry.config_id: entry.vserver_id for entry in reconciler.observed.vservers.values()}
    vservers = dict(VServerServiceBinding.objects.values_list("service", "vserver"))
    found: dict[str, list[float]] = {"read": [], "swapped": [], "ended": []}
    for number in range(CHANGES):
        row = rows[number // 2]
        watch = Watch(rings, ids[vservers[row.service_id]])
        watch.begin()
        record(row, State.DOWN if number % 2 == 0 else State.UP)
        began = time.perf_counter()
        if mark() == known:
            raise BenchError("a recorded verdict left the mark as it was")
        known, configuration = reader.read(timezone.now(), known)
        read = time.perf_counter()
        if not _round(reconciler, configuration):
            raise BenchError("a recorded verdict changed nothing in the kernel")
        found["read"].append((read - began) * 1e3)
        ended = time.perf_counter()
        for phase, moment in (("read", read), ("swapped", watch.end()), ("ended", ended)):
            found[phase].append((moment - began) * 1e3)
        time.sleep(0.02)  # what the last ring left is freed meanwhile, as between any two verdicts
    return found


def size_step() -> int:
    """Every so-manieth service goes down in turn, so that they belong to different virtual servers."""
    return CHANGED.vservers * CHANGED.services // CHANGES


def _round(reconciler: Reconciler, configuration: Configuration) -> str:
    done = reconciler.round(configuration, same_network=True)
    if done.error:
        raise BenchError(f"a round failed: {done.error}")
    return done.summary


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--object", type=Path, required=True)
    parser.add_argument("--pins", type=Path, required=True)
    options = parser.parse_args()
    call_command("migrate", verbosity=0)
    make_rows(CHANGED)
    with loaded(options.object, options.pins) as forwarder:
        reconciler = Reconciler(forwarder.maps, FixedLinks(), FixedNeighbours(CHANGED), None, ())
        sys.stdout.write(json.dumps(measure(reconciler, forwarder.forwarder.maps[Table.RINGS])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
