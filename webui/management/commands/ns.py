"""NetScaler's command line; see docs/nscli.md."""

from __future__ import annotations

import argparse
import os
import pwd
import sys
import time
from pathlib import Path
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

from webui.actions.base import Actor
from webui.choices import Interface
from webui.nscli import saved
from webui.nscli.conf import Progress, Report, import_configuration
from webui.nscli.errors import CliError
from webui.nscli.export import document
from webui.nscli.lexer import logical_lines
from webui.nscli.prompt import interact
from webui.nscli.session import Answer, Session


class Command(BaseCommand):
    help = (
        "NetScaler's command line: interactive on a terminal, else lines of standard input. “ns FILE …” runs files, "
        "“ns batch” runs every line whatever fails, “ns import FILE” tells what a saved configuration would do (and "
        "does it with --apply), “ns export” writes one. Ends with 1 after an error."
    )
    requires_migrations_checks = True

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("words", nargs="*", metavar="FILE", help="files; or: import FILE, export [FILE], batch …")
        parser.add_argument("-c", dest="lines", action="append", default=[], metavar="LINE", help="run this line")
        parser.add_argument("-k", "--keep-going", action="store_true", help="go on after an error")
        parser.add_argument(
            "--user", default="", metavar="NAME", help="with the permissions of this user of the console"
        )
        parser.add_argument("--apply", action="store_true", help="import: do it")
        parser.add_argument("--skip-refused", action="store_true", help="import: apply the other lines all the same")
        parser.add_argument(
            "--from-netscaler",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="import: what lines do not name is as NetScaler has it; without, the first line of the file tells",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        actor, words = actor_named(options["user"]), list(options["words"])
        if words[:1] == ["import"]:
            self._import(actor, words[1:], options)
        elif words[:1] == ["export"]:
            self._export(actor, words[1:])
        else:
            batch = words[:1] == ["batch"]
            self._run(Session(actor, files=True), words[1:] if batch else words, options, batch=batch)

    def _run(self, session: Session, paths: list[str], options: dict[str, Any], *, batch: bool) -> None:
        keep_going = options["keep_going"] or batch
        if options["lines"] or paths:
            sources = [[(0, line) for line in options["lines"]], *(list(logical_lines(_text(path))) for path in paths)]
        elif sys.stdin.isatty() and not batch:
            if not interact(session, self._tell):
                sys.exit(1)
            return
        else:
            sources = [list(logical_lines(sys.stdin.read()))]
        failed = False
        for _number, line in (item for source in sources for item in source):
            answer = session.run(line)
            self._tell(answer)
            failed = failed or not answer.ok
            if answer.closes or (failed and not keep_going):
                break
        if failed:
            sys.exit(1)

    def _tell(self, answer: Answer) -> None:
        out = self.stdout if answer.ok else self.stderr
        for line in answer.lines:
            out.write(line, self.style.ERROR if not answer.ok else str)

    def _import(self, actor: Actor, paths: list[str], options: dict[str, Any]) -> None:
        if len(paths) != 1:
            raise CommandError("import takes one file.")
        try:
            report = import_configuration(
                actor,
                _text(paths[0]),
                apply=options["apply"],
                skip_refused=options["skip_refused"],
                netscaler=options["from_netscaler"],
                progress=self._progress() if self.stderr.isatty() else None,
            )
        except CliError as error:
            raise CommandError(f"{error}.") from error
        self._tell_report(report)
        if report.counts["refused"] and not (report.done and options["skip_refused"]):
            sys.exit(1)

    def _progress(self) -> Progress:
        """Says on the terminal how far it is, twice a second, and wipes that at the end."""
        next_at = time.monotonic() + 1

        def tell(at: int, lines: int) -> None:
            nonlocal next_at
            if at == lines:
                self.stderr.write("\r\033[K", ending="")
            elif time.monotonic() >= next_at:
                next_at = time.monotonic() + 0.5
                self.stderr.write(f"\rline {at} of {lines} …", ending="")
                self.stderr.flush()

        return tell

    def _tell_report(self, report: Report) -> None:
        for one in report.lines:
            why = f"\n      {one.why}" if one.why else ""
            self.stdout.write(f"{one.number:5} {one.outcome:8} {one.line}{why}")
        if report.netscaler:
            self.stdout.write("Written by a NetScaler: what a line does not name is as NetScaler has it.")
        self.stdout.write(report.summary)

    def _export(self, actor: Actor, paths: list[str]) -> None:
        if len(paths) > 1:
            raise CommandError("export takes one file at most.")
        saved.require(actor, saved.READ, "read the configuration as text")
        if not paths:
            self.stdout.write(document(), ending="")
            return
        try:  # sealed secrets are for nobody else's eyes all the same
            descriptor = os.open(paths[0], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(document())
        except OSError as error:
            raise CommandError(f"“{paths[0]}” cannot be written: {error.strerror}.") from error


def actor_named(name: str) -> Actor:
    """The user of the operating system, who may do everything; or a user of the console. Raises CommandError."""
    if not name:
        uid = os.getuid()
        try:
            operator = pwd.getpwuid(uid).pw_name
        except KeyError:
            operator = f"uid {uid}"
        return Actor(None, Interface.CLI, operator=operator)
    user = User.objects.filter(username=name, is_active=True).first()
    if user is None:
        raise CommandError(f"There is no active user “{name}” of the console.")
    return Actor(user, Interface.CLI)


def _text(name: str) -> str:
    try:
        return Path(name).read_text(encoding="utf-8") if name != "-" else sys.stdin.read()
    except OSError as error:
        raise CommandError(f"“{name}” cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"“{name}” is no UTF-8 text: {error}.") from error
