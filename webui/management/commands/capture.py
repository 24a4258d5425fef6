"""A vserver's frames before and after rewriting, as a pcapng file; run it on the director, as root."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from ipaddress import ip_address
from pathlib import Path
from typing import Any, BinaryIO

from django import db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dataplane.capture import Capture, Limits, Selector, Summary, packet_filter, sources
from dataplane.kernel.capture import Detour, Tap, detour, read_interfaces, run
from dataplane.pcapng import Writer
from dataplane.ports import Interface
from dataplane.tables import VServerKey
from webui.choices import PROTOCOL_NUMBER, AdminState
from webui.management.stopping import stopped_by_signals
from webui.models import VServer

_DEFAULT = Limits()
_STDOUT = "-"


class Command(BaseCommand):
    help = "Write a vserver's frames before and after rewriting to a pcapng file. Ctrl-C ends it with a complete file."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--vserver", required=True, metavar="NAME")
        parser.add_argument(
            "--out", default="", metavar="FILE", help="a new file; default NAME-TIME.pcapng; - is stdout"
        )
        parser.add_argument(
            "--count",
            type=int,
            default=_DEFAULT.count,
            metavar="N",
            help=f"frames of each side; default {_DEFAULT.count}",
        )
        parser.add_argument(
            "--seconds", type=float, default=_DEFAULT.seconds, metavar="S", help=f"default {_DEFAULT.seconds:g}"
        )
        parser.add_argument(
            "--snaplen",
            type=int,
            default=_DEFAULT.snaplen,
            metavar="B",
            help=f"bytes kept of a frame; default {_DEFAULT.snaplen}",
        )
        parser.add_argument(
            "--bytes", type=int, default=_DEFAULT.size, metavar="B", help=f"size of the file; default {_DEFAULT.size}"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            limits = Limits(options["count"], options["seconds"], options["snaplen"], options["bytes"])
        except ValueError as error:
            raise CommandError(f"--{error}") from error
        row, wanted, keys, notes = _vserver(options["vserver"])
        if os.geteuid():
            raise CommandError("capture listens to the director's interfaces, which needs root: try sudo.")
        try:
            interfaces, with_xdp = _interfaces()
            notes += [
                f"{name} has an XDP program of somebody else: what that forwards is not seen here."
                for name in with_xdp
                if any(item.name == name for item in interfaces)
            ]
            for note in notes:
                self.stderr.write(note)
            tap = Tap(packet_filter(wanted, [item.ifindex for item in interfaces]))
            try:
                with _open(options["out"], options["vserver"]) as (file, name), detour(settings.PIN_DIR, row) as around:
                    where = ", ".join(item.name for item in interfaces)
                    self.stderr.write(f"Capturing {options['vserver']} on {where} to {name}; Ctrl-C ends it.")
                    text = _capture(file, tap, Selector(wanted, keys), interfaces, limits=limits, around=around)
            finally:
                tap.close()
        except OSError as error:
            what = f"{error.filename}: " if error.filename else ""
            raise CommandError(f"The capture failed: {what}{error.strerror or error}.") from error
        self.stderr.write(text)


def _capture(  # noqa: PLR0913 - from where, which, how much and where to
    file: BinaryIO, tap: Tap, selector: Selector, interfaces: Sequence[Interface], *, limits: Limits, around: Detour
) -> str:
    """Run one capture and tell what it has."""
    writer = Writer(file, sources(interfaces), snaplen=limits.snaplen, application="Halfpipe capture")
    own = [entry.ip for item in interfaces for entry in item.addresses]
    capture = Capture(writer, selector, interfaces=interfaces, limits=limits, own=own)
    with stopped_by_signals() as stop:
        ended_by = run(tap, capture, limits, stop, around)
    return _text(capture.summary, ended_by)


def _text(summary: Summary, ended_by: str) -> str:
    words = {
        "count": "the number of frames was reached",
        "seconds": "the time was over",
        "size": "the file reached its size",
        "stopped": "it was stopped",
    }
    lines = [
        f"{summary.before} frames before and {summary.after} after rewriting, {summary.pairs} pairs equal but for MACs "
        f"and VLAN tags; {summary.size} bytes. It ended because {words[ended_by]}."
    ]
    if summary.before > summary.pairs:
        lines.append(
            f"{summary.before - summary.pairs} frames were not seen to leave: dropped, or on their way at the end."
        )
    if summary.own:
        lines.append(f"{summary.own} frames of the director's own health checks were left out.")
    if summary.lost:
        lines.append(f"{summary.lost} frames were lost: they came faster than they could be written.")
    return "\n".join(lines)


def _vserver(name: str) -> tuple[int, VServerKey, list[VServerKey], list[str]]:
    """Row id and key of the vserver, the keys of all at its address, and what is worth saying."""
    try:
        row = VServer.objects.filter(name__iexact=name).first()
        if row is None:
            near = get_close_matches(name, VServer.objects.values_list("name", flat=True), n=3)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise CommandError(f"--vserver: {name!r}: there is no vserver of this name.{hint}")
        twins = VServer.objects.filter(address=row.address, state=AdminState.ENABLED)
        notes = [] if row.state == AdminState.ENABLED else [f"Vserver {row.name} is disabled: nothing is forwarded."]
        return row.pk, _key(row), [_key(twin) for twin in twins], notes
    except db.Error as error:
        raise CommandError(f"The database did not answer, so {name!r} cannot be looked up: {error}") from error


def _key(row: VServer) -> VServerKey:
    return VServerKey(ip_address(row.address), PROTOCOL_NUMBER[row.service_type], row.port, row.port_end)


def _interfaces() -> tuple[list[Interface], tuple[str, ...]]:
    """The director's interfaces that frames may pass, and those with XDP. Raises OSError, also for none."""
    present, with_xdp = read_interfaces()
    names = settings.DIRECTOR_INTERFACES
    chosen = [item for item in present if not names or item.name in names]
    if not chosen:
        raise CommandError("This network namespace has none of the director's interfaces; is this the director?")
    return chosen, with_xdp


@contextmanager
def _open(out: str, vserver: str) -> Iterator[tuple[BinaryIO, str]]:
    """A new file that root alone may read: it has clients' data. Raises OSError when it is there already."""
    if out == _STDOUT:
        yield sys.stdout.buffer, "standard output"
        sys.stdout.buffer.flush()
        return
    safe = re.sub(r"[^\w.-]+", "_", vserver)
    path = Path(out or f"{safe}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.pcapng")
    path.touch(0o600, exist_ok=False)
    with path.open("wb") as file:
        yield file, str(path)
