"""``python -m dataplane.bench.console_rows``: rows for the benchmark of the console, and a director that reports.

A program of its own, since the benchmark knows no Django. Answers are JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")
django.setup()

from django.conf import settings  # noqa: E402 - Django must be set up before models are imported
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from dataplane.report import save_counters, save_status  # noqa: E402
from webui import freshness, live  # noqa: E402
from webui.models import (  # noqa: E402
    HealthState,
    HealthTransition,
    Installation,
    Monitor,
    ProbeTarget,
    Server,
    ServerPath,
    Service,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
)

DIRECTOR = "bench"
FIRST_VIP = IPv4Address("10.255.0.1")
FIRST_SERVER = IPv4Address("10.1.0.1")
FIRST_PROBE = IPv4Address("198.18.0.1")
PORT = 80


@transaction.atomic
def make(vservers: int, each: int, browsers: int) -> dict[str, Any]:
    """So many virtual servers with so many services of their own, all UP; the keys of so many sessions."""
    monitor = Monitor.objects.create(name="bench", monitor_type="TCP", interval=60, resp_timeout=2)
    count, now = vservers * each, timezone.now()
    servers = Server.objects.bulk_create(
        Server(name=f"server{n:05}", address=str(FIRST_SERVER + n)) for n in range(count)
    )
    services = Service.objects.bulk_create(
        Service(name=f"service{n:05}", server=server, service_type="TCP", port=PORT) for n, server in enumerate(servers)
    )
    owners = VServer.objects.bulk_create(
        VServer(name=f"vserver{n:04}", address=str(FIRST_VIP + n), service_type="TCP", port=PORT)
        for n in range(vservers)
    )
    ServiceMonitorBinding.objects.bulk_create(ServiceMonitorBinding(service=one, monitor=monitor) for one in services)
    VServerServiceBinding.objects.bulk_create(
        VServerServiceBinding(vserver=owners[n // each], service=one) for n, one in enumerate(services)
    )
    targets = ProbeTarget.objects.bulk_create(
        ProbeTarget(vip=owners[n // each].address, server=server, address=str(FIRST_PROBE + n))
        for n, server in enumerate(servers)
    )
    up = {"state": "UP", "checked_at": now, "recent": "PPPP", "response": "TCP handshake done", "probes": 4}
    states = HealthState.objects.bulk_create(
        HealthState(target=target, service=service, monitor=monitor, since=now - timedelta(hours=1), **up)
        for target, service in zip(targets, services, strict=True)
    )
    ServerPath.objects.bulk_create(
        ServerPath(director=DIRECTOR, server=server, eligible=True, mac="02:00:00:00:00:01", interface="eth1")
        for server in servers
    )
    Installation.objects.get_or_create(pk=1)
    Installation.objects.update(revision=2)
    keep_checked(states)
    save_status(DIRECTOR, wanted_revision=2, applied_revision=2, applied_at=now, round_ms=12.0)
    save_counters(DIRECTOR, payload(0))
    return {
        "services": count,
        "sessions": [_session(n) for n in range(browsers)],
        "cookie": settings.SESSION_COOKIE_NAME,
    }


def _session(number: int) -> str:
    user = User.objects.create(username=f"user{number:03}", is_superuser=number == 0)
    user.set_unusable_password()
    user.save()
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return str(session.session_key)


def keep_checked(states: list[HealthState]) -> None:
    """Tell Redis, as the workers do, that every check was made now."""
    now = timezone.now()
    freshness.save(
        {row.pk: freshness.Figures(row.edition, now, "PPPP", row.response, 0.001, None, 4, 0) for row in states}
    )


def payload(moment: int) -> dict[str, Any]:
    """Counters as the worker makes them, every one of them moving: traffic is never twice the same."""
    at = random.Random(moment)  # noqa: S311 - figures, not secrets

    def one() -> dict[str, Any]:
        rate = round(at.uniform(500, 90_000), 1)
        packets = int(rate * (moment + 100))
        return {"packets": packets, "bytes": packets * 640, "packets_per_second": rate, "bits_per_second": rate * 5120}

    drops = {"dropped": 0, "dropped_per_second": 0.0}
    return {
        "vservers": {str(pk): one() | drops for pk in VServer.objects.order_by().values_list("pk", flat=True)},
        "services": {str(pk): one() for pk in Service.objects.order_by().values_list("pk", flat=True)},
        "reasons": {"FORWARDED": {"packets": moment * 1000, "packets_per_second": round(at.uniform(1e4, 1e6), 1)}},
    }


def report(seconds: int, change_every: int) -> None:
    """Write and publish counters each second, and every so often one service's verdict; a line for each verdict.

    A line has the service's key, its new state, and when its row was committed (``time.time``).
    """
    states = list(HealthState.objects.select_related("service").order_by("pk"))
    began = time.monotonic()
    for second in range(seconds):
        save_counters(DIRECTOR, payload(second + 1))
        if second and second % change_every == 0:
            time.sleep(0.3)  # not at the very moment of the counters
            _change(states[(second // change_every * 37) % len(states)])
        if second % 20 == 0:
            keep_checked(states)
        time.sleep(max(0.0, began + second + 1 - time.monotonic()))


def _change(row: HealthState) -> None:
    """As monitors.store does: the row and its transition in one transaction, then the hint."""
    old, row.state, row.since = row.state, "DOWN" if row.state == "UP" else "UP", timezone.now()
    with transaction.atomic():
        row.save()
        HealthTransition.objects.create(
            at=row.since,
            service=row.service,
            service_name=row.service.name,
            monitor_name="bench",
            vip=str(FIRST_VIP),
            old=old,
            new=row.state,
            reason="bench",
        )
    at = time.time()
    live.publish({"type": "live.changed", "what": "health"})
    sys.stdout.write(json.dumps({"key": str(row.service_id), "state": row.state, "at": at}) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Make rows, or report."""
    parser = argparse.ArgumentParser(prog="dataplane.bench.console_rows", description=__doc__)
    parser.add_argument("--make", nargs=3, type=int, metavar=("VSERVERS", "EACH", "BROWSERS"), help="make rows")
    parser.add_argument("--report", nargs=2, type=int, metavar=("SECONDS", "CHANGE_EVERY"), help="be a director")
    options = parser.parse_args()
    if options.make:
        sys.stdout.write(json.dumps(make(*options.make)) + "\n")
    if options.report:
        report(*options.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
