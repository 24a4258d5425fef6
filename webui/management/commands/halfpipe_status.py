"""What the directors have applied and which services get no traffic, for terminals and start-up scripts."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.management.base import BaseCommand

from webui import readiness
from webui.choices import AdminState, State
from webui.models import DataplaneStatus
from webui.world import load_world


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
        parser.add_argument(
            "--json",
            action="store_true",
            help="write one object: problems, and the state of each service at each address",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        deadline = time.monotonic() + options["wait_applied"]
        problems = _problems()
        while problems and time.monotonic() < deadline:
            time.sleep(0.2)
            problems = _problems()
        if options["json"]:
            services = [one._asdict() for one in _services()]
            self.stdout.write(json.dumps({"problems": problems, "services": services}))
        else:
            self._show(problems)
        if problems:
            sys.exit(1)

    def _show(self, problems: list[str]) -> None:
        for status in DataplaneStatus.objects.order_by("director"):
            self.stdout.write(f"{status.director}: revision {status.applied_revision} applied, mode {status.mode}")
            for item in status.interfaces:
                if item.get("mode"):
                    self.stdout.write(f"{status.director}: {item['name']} {item['mode']}: {item['mode_reason']}")
        for problem in problems:
            self.stdout.write(problem)


def _problems() -> list[str]:
    return readiness.directors() + [one.problem for one in _services() if one.problem]


class Bound(NamedTuple):
    """A service of an enabled vserver; ``problem`` is empty when it gets its clients."""

    service: str
    address: str
    state: str
    problem: str


def _services() -> Iterator[Bound]:
    world = load_world()
    for vserver in world.vservers.values():
        for binding in world.bindings_of_vserver[vserver.pk] if vserver.state == AdminState.ENABLED else ():
            service = binding.service
            verdict = world.verdict(service, vserver)
            refusals = [path.reason for path in world.paths[service.server_id] if not path.eligible]
            problem = ""
            if verdict.state != State.UP:
                problem = f"{service.name} at {vserver.address}: {verdict.state} ({verdict.reason})"
            elif refusals:
                problem = f"{service.name} at {vserver.address}: {refusals[0]}"
            yield Bound(service.name, vserver.address, verdict.state, problem)
