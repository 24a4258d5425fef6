"""What the directors have applied and which services get no traffic, for terminals and start-up scripts."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from webui.choices import AdminState, State
from webui.models import DataplaneStatus, Installation
from webui.world import load_world

STALE = timedelta(seconds=5)


class Command(BaseCommand):
    help = "Show what is applied; exit 1 when a director lags behind or a bound service is not UP."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--wait-applied",
            type=float,
            default=0,
            metavar="SECONDS",
            help="try again until all is well or this is over",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        deadline = time.monotonic() + options["wait_applied"]
        problems = _problems()
        while problems and time.monotonic() < deadline:
            time.sleep(0.2)
            problems = _problems()
        for status in DataplaneStatus.objects.order_by("director"):
            self.stdout.write(f"{status.director}: revision {status.applied_revision} applied, mode {status.mode}")
            for item in status.interfaces:
                if item.get("mode"):
                    self.stdout.write(f"{status.director}: {item['name']} {item['mode']}: {item['mode_reason']}")
        for problem in problems:
            self.stdout.write(problem)
        if problems:
            sys.exit(1)


def _problems() -> list[str]:
    return _director_problems() + _service_problems()


def _director_problems() -> list[str]:
    revision = Installation.objects.filter(pk=1).values_list("revision", flat=True).first() or 0
    found = []
    rows = list(DataplaneStatus.objects.order_by("director"))
    if not rows:
        found.append("No dataplane worker has reported yet.")
    for row in rows:
        if row.heartbeat_at is None or row.heartbeat_at < timezone.now() - STALE:
            found.append(f"{row.director}: no report since {row.heartbeat_at or 'ever'}.")
        if row.applied_revision < revision:
            found.append(
                f"{row.director}: revision {row.applied_revision} applied, {revision} wanted. {row.last_error}"
            )
    return found


def _service_problems() -> list[str]:
    world = load_world()
    found = []
    for vserver in world.vservers.values():
        for binding in world.bindings_of_vserver[vserver.pk] if vserver.state == AdminState.ENABLED else ():
            service = binding.service
            verdict = world.verdict(service, vserver)
            refusals = [path.reason for path in world.paths[service.server_id] if not path.eligible]
            if verdict.state != State.UP:
                found.append(f"{service.name} at {vserver.address}: {verdict.state} ({verdict.reason})")
            elif refusals:
                found.append(f"{service.name} at {vserver.address}: {refusals[0]}")
    return found
