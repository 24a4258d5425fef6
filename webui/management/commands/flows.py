"""New flows and drops as they happen, one line each; run it on the director, as root, beside the running worker."""

from __future__ import annotations

import argparse
import os
import time
from difflib import get_close_matches
from ipaddress import ip_address
from typing import Any

from django import db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dataplane.flow_view import Names, flow_line, flow_row
from dataplane.kernel.events import open_listener
from dataplane.tables import SampleKind, Sampling
from dataplane.watch import names as flow_names
from webui.management.stopping import stopped_by_signals
from webui.models import VServer

_POLL_SECONDS = 0.2
_RENEW_SECONDS = 1.0
_RATE = 200  # events a second of each CPU


class Command(BaseCommand):
    help = "Show new flows and drops live. Ctrl-C ends it; the forwarder stops telling by itself when this is killed."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--vserver", default="", metavar="NAME", help="only this one, and drops at its VIP")
        parser.add_argument("--drops", action="store_true", help="drops alone, without new flows")
        parser.add_argument(
            "--forwarded",
            type=int,
            default=0,
            metavar="N",
            help="also one in N of the other packets that are forwarded",
        )
        parser.add_argument("--seconds", type=float, default=0.0, metavar="S", help="end after that; default: never")
        parser.add_argument(
            "--rate", type=int, default=_RATE, metavar="N", help=f"lines a second and CPU; default {_RATE}"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        wish = _wish(options)
        if os.geteuid():
            raise CommandError("flows reads the forwarder's maps, which needs root: try sudo.")
        try:
            with open_listener(settings.PIN_DIR) as listener, stopped_by_signals() as stop:
                started = renewed = time.monotonic()
                listener.listen(wish)
                names = _names()
                self.stderr.write("Listening; Ctrl-C ends it.")
                while not stop.asked and (not options["seconds"] or time.monotonic() < started + options["seconds"]):
                    epoch = time.time_ns() - time.monotonic_ns()
                    for event in listener.events(_POLL_SECONDS):
                        self.stdout.write(flow_line(flow_row(event, names, epoch)))
                    self.stdout.flush()
                    if time.monotonic() > renewed + _RENEW_SECONDS:
                        renewed = time.monotonic()
                        listener.listen(wish)
                        names = _names()
                seen = listener.sampled()
        except OSError as error:
            raise CommandError(f"The forwarder cannot be listened to: {error.strerror or error}.") from error
        self.stderr.write(f"{seen.told} events" + (f", {seen.withheld} more came too fast." if seen.withheld else "."))


def _wish(options: dict[str, Any]) -> Sampling:
    if options["rate"] < 1:
        raise CommandError(f"--rate is {options['rate']}: must be at least 1")
    if options["forwarded"] < 0 or options["seconds"] < 0:
        raise CommandError("--forwarded and --seconds must not be negative")
    kinds = SampleKind.DROP if options["drops"] else SampleKind.DROP | SampleKind.FLOW
    if options["forwarded"]:
        kinds |= SampleKind.FORWARDED
    row = _vserver(options["vserver"]) if options["vserver"] else None
    return Sampling(
        until=0,
        kinds=kinds,
        rate=options["rate"],
        burst=options["rate"],
        vserver=row.pk if row else 0,
        vip=ip_address(row.address) if row else None,
        one_in=max(1, options["forwarded"]),
    )


def _vserver(name: str) -> VServer:
    try:
        row = VServer.objects.filter(name__iexact=name).first()
        near = get_close_matches(name, VServer.objects.values_list("name", flat=True), n=3)
    except db.Error as error:
        raise CommandError(f"The database did not answer, so {name!r} cannot be looked up: {error}") from error
    if row is None:
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise CommandError(f"--vserver: {name!r}: there is no vserver of this name.{hint}")
    return row


def _names() -> Names:
    """Rows have numbers while the database is away."""
    try:
        return flow_names()
    except db.Error:
        return Names()
