"""One probe by hand, with the exchange step by step; run it where the checks run, on the director."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from monitors.trace import as_text
from monitors.trying import attempt_of
from webui.actions import probing
from webui.actions.base import Actor, find
from webui.actions.errors import NotFoundError
from webui.models import Monitor, Service


class Command(BaseCommand):
    help = (
        "Check a service with a monitor once and print the exchange step by step, secrets hidden. Changes no state, "
        "and the two need not be bound. Ends with 0 when the check passes and with 1 when it fails."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("monitor", metavar="MONITOR")
        parser.add_argument("service", metavar="SERVICE")
        parser.add_argument("--vip", default="", metavar="ADDRESS", help="needed for a service at several VIPs")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            monitor, service = find(Monitor, options["monitor"]), find(Service, options["service"])
            chosen = probing.choose(Actor.system("probe"), monitor, service, options["vip"])
        except NotFoundError as error:
            raise CommandError(str(error.args[0])) from error
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        try:
            attempt = attempt_of(monitor, chosen.service, chosen.target)
        except KeyError as error:
            raise CommandError(f"{error} is no type of monitor.") from error
        trace = attempt.run()
        self.stdout.write(as_text(trace), ending="")
        if not trace.passed:
            sys.exit(1)
