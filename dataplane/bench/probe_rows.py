"""``python -m dataplane.bench.probe_rows``: rows for the benchmark of the checks, and what was found of them.

A program of its own, since the benchmark knows no Django. Answers are JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from ipaddress import IPv4Address

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from django.db import transaction  # noqa: E402 - Django must be set up before models are imported

from webui import freshness  # noqa: E402
from webui.actions import monitors  # noqa: E402
from webui.actions.base import Actor  # noqa: E402
from webui.models import (  # noqa: E402
    DataplaneStatus,
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

PATIENCE = 30.0  # seconds
VIP = "10.255.255.1"
FIRST_SERVER = IPv4Address("10.1.0.0")
FIRST_PROBE = IPv4Address("127.1.0.0")  # all of 127/8 is the machine itself


def make(count: int, port: int) -> dict[str, float]:
    """``count`` checks every 5 s, by TCP and HTTP in turn, of a server that listens on ``port`` of every address."""
    given = {"interval": 5, "resp_timeout": 2, "dest_port": port}
    monitors = [Monitor(name=f"bench-{kind}", monitor_type=kind, **given) for kind in ("TCP", "HTTP")]
    for monitor in monitors:
        monitor.full_clean()
        monitor.save()
    numbers = range(1, count + 1)
    with transaction.atomic():
        servers = Server.objects.bulk_create(Server(name=f"s{n}", address=str(FIRST_SERVER + n)) for n in numbers)
        services = Service.objects.bulk_create(Service(name=f"s{one.pk}", server=one) for one in servers)
        targets = ProbeTarget.objects.bulk_create(
            ProbeTarget(vip=VIP, server=server, address=str(FIRST_PROBE + n))
            for n, server in zip(numbers, servers, strict=True)
        )
        pairs = [(service, monitors[n % len(monitors)]) for n, service in enumerate(services)]
        ServiceMonitorBinding.objects.bulk_create(ServiceMonitorBinding(service=s, monitor=m) for s, m in pairs)
        HealthState.objects.bulk_create(
            HealthState(target=target, service=service, monitor=monitor)
            for target, (service, monitor) in zip(targets, pairs, strict=True)
        )
        Installation.objects.get_or_create(pk=1)
        Installation.objects.update(revision=2)
    return {"checks": HealthState.objects.count()}


def make_reaction(vip: str, address: str) -> dict[str, float]:
    """One vserver with one service, checked by TCP every 2 s with 1 s to answer, DOWN after one failure."""
    monitor = Monitor.objects.create(
        name="bench", monitor_type="TCP", interval=2, resp_timeout=1, retries=1, down_time=2
    )
    server = Server.objects.create(name="bench", address=address)
    service = Service.objects.create(name="bench", server=server, service_type="TCP", port=80)
    vserver = VServer.objects.create(name="bench", address=vip, service_type="TCP", port=80)
    ServiceMonitorBinding.objects.create(service=service, monitor=monitor)
    VServerServiceBinding.objects.create(vserver=vserver, service=service)
    target = ProbeTarget.objects.create(vip=vip, server=server, address="198.18.0.1")
    HealthState.objects.create(target=target, service=service, monitor=monitor)
    Installation.objects.get_or_create(pk=1)
    Installation.objects.update(revision=2)
    return {"checks": 1}


def follow() -> None:
    """For each line that comes in, UP or DOWN, wait until the check and the table are so, and tell when that was.

    ``TIMES`` with an interval, response timeout, retries and retry interval (milliseconds) changes the monitor.
    """
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "TIMES":
            _set_times(*map(int, numbers))
            sys.stdout.write("{}\n")
            sys.stdout.flush()
            continue
        end = time.monotonic() + PATIENCE
        while (found := verdict())["up"] != (word == "UP") or found["applied at"] <= found["verdict at"]:
            if time.monotonic() > end:
                sys.exit(f"the service did not turn {word} within {PATIENCE:.0f} s")
            time.sleep(0.05)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()


def _set_times(interval: int, resp_timeout: int, retries: int, retry_interval: int) -> None:
    """As an operator would: through the action, so that the workers hear of it."""
    times = {
        "interval": interval,
        "resp_timeout": resp_timeout,
        "down_time": interval,
        "retry_interval": retry_interval,
    }
    values: dict[str, object] = {name: f"{value} MSEC" for name, value in times.items()}
    monitors.update(Actor.system("bench"), Monitor.objects.get(name="bench"), values | {"retries": retries})


def verdict() -> dict[str, float]:
    """The latest verdict of the one check: when it was found, and when the table followed."""
    row = HealthState.objects.get()
    newest = HealthTransition.objects.first()
    status = DataplaneStatus.objects.first()
    applied = status.applied_at if status is not None else None
    return {
        "up": row.state == "UP",
        "verdict at": newest.at.timestamp() if newest is not None else 0.0,
        "applied at": applied.timestamp() if applied is not None else 0.0,
    }


def found() -> dict[str, float]:
    """How many checks are UP, how often state changed, how many probes there were."""
    rows = list(HealthState.objects.all())
    written = sum(row.probes for row in rows)
    at = time.monotonic()
    freshness.refresh(rows)
    return {
        "at": at,
        "up": sum(row.state == "UP" for row in rows),
        "transitions": HealthTransition.objects.count(),
        "probes": sum(row.probes for row in rows),
        "failures": sum(row.failures for row in rows),
        "probes in rows": written,
    }


def main() -> int:
    """Make rows, or tell what was found."""
    parser = argparse.ArgumentParser(prog="dataplane.bench.probe_rows", description=__doc__)
    parser.add_argument("--make", type=int, default=0, help="how many checks to make")
    parser.add_argument("--port", type=int, default=0, help="where the server listens")
    parser.add_argument("--reaction", nargs=2, metavar=("VIP", "SERVER"), help="make one vserver with one service")
    parser.add_argument("--follow", action="store_true", help="tell of its verdicts, one for each line of input")
    options = parser.parse_args()
    if options.follow:
        follow()
        return 0
    if options.make:
        answer = make(options.make, options.port)
    elif options.reaction:
        answer = make_reaction(*options.reaction)
    else:
        answer = found()
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
