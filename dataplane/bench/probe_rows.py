"""``python -m dataplane.bench.probe_rows``: rows for the benchmark of the checks, and what was found of them.

A program of its own, since the benchmark knows no Django. Answers are JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from ipaddress import IPv4Address

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from django.db import transaction  # noqa: E402 - Django must be set up before models are imported

from webui import freshness  # noqa: E402
from webui.models import (  # noqa: E402
    HealthState,
    HealthTransition,
    Installation,
    Monitor,
    ProbeTarget,
    Server,
    Service,
    ServiceMonitorBinding,
)

VIP = "10.255.255.1"
FIRST_SERVER = IPv4Address("10.1.0.0")
FIRST_PROBE = IPv4Address("127.1.0.0")  # all of 127/8 is the machine itself


def make(count: int, port: int) -> dict[str, int]:
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


def found() -> dict[str, int]:
    """How many checks are UP, how often state changed, how many probes there were."""
    rows = list(HealthState.objects.all())
    written = sum(row.probes for row in rows)
    freshness.refresh(rows)
    return {
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
    options = parser.parse_args()
    answer = make(options.make, options.port) if options.make else found()
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
