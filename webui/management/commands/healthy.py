"""Whether one process of this container does its work: for the health checks of Docker and other supervisors."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand

from webui import readiness


class Command(BaseCommand):
    help = "Exit 0 when a process of this machine does its work; else say what is wrong, and exit 1."
    requires_system_checks = []

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("process", choices=sorted(readiness.QUESTIONS))

    def handle(self, *_args: Any, process: str, **_options: Any) -> None:
        found = readiness.problems(process)
        for problem in found:
            self.stdout.write(problem)
        if found:
            sys.exit(1)
