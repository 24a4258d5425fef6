"""The audit on the command line: head, verify, archive, export."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.http import QueryDict
from django.utils.dateparse import parse_date, parse_datetime

from webui.actions.base import Actor
from webui.audit import archive, asked, export, verify


class Command(BaseCommand):
    help = "Verify the chain of the audit, export its head or its entries, and move old entries into archive files."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parts = parser.add_subparsers(dest="part", required=True)
        parts.add_parser("head", help="print the end of the chain as a line of JSON; keep it on another machine")
        one = parts.add_parser("verify", help="follow the whole chain and tell the first broken link")
        one.add_argument("--head", action="append", default=[], metavar="FILE", help="a head that was exported before")
        one.add_argument("--archives", metavar="DIR", help="where the archive files are now")
        one = parts.add_parser("archive", help="write the oldest entries into a file, then delete them here")
        one.add_argument("--before", required=True, metavar="DATE", help="2026-01-31, or with a time (UTC)")
        one.add_argument("--to", required=True, metavar="DIR", help="folder of the file")
        one = parts.add_parser("export", help="print entries, newest first")
        one.add_argument("--format", choices=sorted(export.FORMATS), default="json")
        one.add_argument(
            "--filter", default="", metavar="QUERY", help="as in the page's address: kind=server&actor=bob"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        getattr(self, f"_{options['part']}")(options)

    def _head(self, _options: dict[str, Any]) -> None:
        self.stdout.write(json.dumps(asdict(verify.head())))

    def _verify(self, options: dict[str, Any]) -> None:
        try:
            heads = [verify.parse_head(Path(name).read_text()) for name in options["head"]]
        except (OSError, ValueError) as error:
            raise CommandError(f"--head: {error}") from error
        folder = Path(options["archives"]) if options["archives"] else None
        found = verify.verify(heads, folder)
        for warning in found.warnings:
            self.stderr.write(f"Warning: {warning}")
        if found.broken is not None:
            raise CommandError(f"Broken at entry {found.broken.sequence}: {found.broken.text}")
        told = f", {found.archived} of them in archives" if found.archived else ""
        self.stdout.write(f"{found.entries} entries verified{told}. Head: {found.head.sequence} {found.head.hash}")

    def _archive(self, options: dict[str, Any]) -> None:
        before = moment(options["before"])
        if before is None:
            raise CommandError(f"--before {options['before']}: this is no date such as 2026-01-31.")
        try:
            made = archive.archive(Actor.system("audit archive"), before, Path(options["to"]))
        except (archive.ArchiveError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"Entries {made.first} to {made.last} are in {made.path}, and no longer in the database.")

    def _export(self, options: dict[str, Any]) -> None:
        wanted = asked.parse(QueryDict(options["filter"]))
        if wanted.ignored:
            raise CommandError(f"--filter: {'; '.join(wanted.ignored)}")
        for line in export.lines(options["format"], wanted):
            self.stdout.write(line, ending="")


def moment(text: str) -> datetime | None:
    """A date, or a date and time, in UTC unless it says otherwise; None for what is neither."""
    try:
        found = parse_datetime(text)
        if found is None and (day := parse_date(text)) is not None:
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
    except ValueError:
        return None
    return found if found is None or found.tzinfo is not None else found.replace(tzinfo=UTC)
