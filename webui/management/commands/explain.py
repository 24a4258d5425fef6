"""Where a packet goes and why, asked of the loaded forwarder; run it on the director, as root."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from django import db
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dataplane.explain import Names, ServiceName
from dataplane.explain_query import DEFAULT_DESTINATION_PORT, DEFAULT_SOURCE_PORT, Query, frame_query, parse_frame
from dataplane.explain_query import parse_query as parse
from dataplane.kernel.explain import explain, open_loaded
from dataplane.pcapng import read_frame
from webui.models import Service, VServer


class Command(BaseCommand):
    help = "Ask the loaded forwarder where a packet goes and why. Counts as one packet; sends none."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--from", dest="source", default="", metavar="ADDRESS", help="the client")
        parser.add_argument("--to", dest="destination", default="", metavar="ADDRESS", help="the VIP")
        parser.add_argument("--protocol", default="tcp", help="name or number; default tcp, as a SYN")
        parser.add_argument("--sport", default="", metavar="PORT", help=f"default {DEFAULT_SOURCE_PORT}")
        parser.add_argument("--dport", default="", metavar="PORT", help=f"default {DEFAULT_DESTINATION_PORT}")
        parser.add_argument(
            "--frame", default="", metavar="HEX", help="a whole Ethernet frame instead; FIN and RST end flows"
        )
        parser.add_argument("--pcap", default="", metavar="FILE", help="a frame of this pcap or pcapng file instead")
        parser.add_argument("--number", type=int, default=1, metavar="N", help="which frame of FILE; default 1")
        parser.add_argument(
            "--interface", default="", help="where it arrives; default: where the forwarder is attached"
        )
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            query = _query(options)
        except ValueError as error:
            raise CommandError(str(error)) from error
        if os.geteuid():
            raise CommandError("explain runs the forwarder in the kernel, which needs root: try sudo.")
        names, notes = _names()
        try:
            with open_loaded(settings.PIN_DIR, options["interface"], towards=query) as loaded:
                found = explain(
                    query,
                    loaded.maps,
                    loaded.program_fd,
                    loaded.interfaces,
                    interface=loaded.interface,
                    names=names,
                    notes=(*loaded.notes, *notes),
                    xdp_fd=loaded.xdp_fd,
                )
        except OSError as error:
            raise CommandError(f"The forwarder cannot be asked: {error.strerror or error}.") from error
        self.stdout.write(json.dumps(found.as_dict(), indent=2) if options["json"] else found.text())


def _query(options: dict[str, Any]) -> Query:
    """One of the three ways to ask. Raises ValueError that names the option."""
    given = [name for name in ("frame", "pcap") if options[name]]
    ends = [name for name in ("source", "destination", "sport", "dport") if options[name]]
    if len(given) > 1 or (given and ends):
        message = f"--{given[0]}: gives the whole frame; leave out --from, --to, --sport, --dport and other frames"
        raise ValueError(message)
    if options["frame"]:
        return parse_frame(options["frame"])
    if options["pcap"]:
        try:
            return frame_query(read_frame(Path(options["pcap"]), options["number"]))
        except OSError as error:
            message = f"--pcap: {options['pcap']!r}: {error.strerror}"
            raise ValueError(message) from error
    if not (options["source"] and options["destination"]):
        message = "--from and --to: both are needed, unless --frame or --pcap gives a whole frame"
        raise ValueError(message)
    return parse(options["source"], options["destination"], options["protocol"], options["sport"], options["dport"])


def _names() -> tuple[Names, list[str]]:
    """Names of all rows; none, and a note, while the database is away: the answer does not depend on it."""
    try:
        services = Service.objects.select_related("server")
        return (
            Names(
                dict(VServer.objects.values_list("pk", "name")),
                {row.pk: ServiceName(row.name, row.server.name, row.server.address) for row in services},
            ),
            [],
        )
    except db.Error as error:
        return Names(), [f"The database did not answer, so names are missing: {error}"]
