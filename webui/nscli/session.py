"""Runs lines for somebody, and tells of each what came of it in NetScaler's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from django.db import transaction

from webui import auditing, roles
from webui.actions.base import Actor
from webui.actions.errors import PermissionRefused
from webui.choices import AuditVerb, Outcome
from webui.nscli.context import Context, Entry
from webui.nscli.errors import CliError
from webui.nscli.grammar import Commands, Parsed
from webui.nscli.lexer import Word, words
from webui.nscli.masking import has_secret, masked
from webui.nscli.ranges import expanded
from webui.nscli.told import EXPECTED, in_one_line

DONE: Final = " Done"
LOOKS: Final = frozenset({"show", "stat", "diff"})  # commands that change nothing and tell of the installation
MOST_REMEMBERED: Final = 500  # lines of a session's history
# What NetScaler has where a saved line names no value; see "add lb vserver" and "add service" of its reference.
NETSCALER_DEFAULTS: Final[dict[str, dict[str, str]]] = {
    "vserver": {"lb_method": "LEASTCONNECTION", "mode": "IP", "sessionless": "DISABLED"},
    "service": {"usip": "NO"},
    "servicegroup": {"usip": "NO"},
}


@dataclass(frozen=True)
class Answer:
    """What a line told; ``ok`` is False after an error, ``closes`` True when the session is over.

    ``silent``: there was nothing to run, as on a comment.
    """

    lines: tuple[str, ...]
    ok: bool = True
    closes: bool = False
    silent: bool = False

    @property
    def text(self) -> str:
        """All of it, with a line end behind each line."""
        return "".join(f"{line}\n" for line in self.lines)


@cache
def _entries() -> dict[tuple[str, ...], Entry]:
    from webui.nscli.registry import entries  # noqa: PLC0415 - commands such as batch run lines themselves

    return {tuple(word.lower() for word in one.command.words): one for one in entries()}


@cache
def commands() -> Commands:
    """Every command."""
    return Commands(entry.command for entry in _entries().values())


class Session:
    """Lines of one actor, one after the other.

    ``files``: commands may read and write files of this machine, so it is for those who have an account on it.
    ``netscaler``: what a line does not name is as NetScaler has it, not as Halfpipe has it. ``confirm``, where there is
    somebody to ask, asks a question and tells whether the answer was yes.
    """

    confirm: Callable[[str], bool] | None = None

    def __init__(self, actor: Actor, *, files: bool = False, netscaler: bool = False) -> None:
        self.actor = actor
        self.files = files
        self.netscaler = netscaler
        self.history: list[str] = []
        self.depth = 0  # of files that run files

    def run(self, line: str) -> Answer:
        """Run a line: whatever it holds, the last line of the answer is `` Done`` or begins with ``ERROR:``.

        The audit gets the line and its outcome; what it changes has entries of its own, with the same correlation.
        """
        self.actor = replace(self.actor, correlation=auditing.new_correlation())
        try:
            told, closes = self.attempt(line)
        except EXPECTED as error:
            text = f"ERROR: {in_one_line(error)}"
            self._noted(line, Outcome.REFUSED if isinstance(error, PermissionRefused) else Outcome.FAILED, text)
            return Answer((text,), ok=False)
        if told is None:
            return Answer((), silent=True)
        self._noted(line, Outcome.SUCCESS)
        return Answer((*told, DONE), closes=closes)

    def _noted(self, line: str, outcome: Outcome, reason: str = "") -> None:
        auditing.note(self.actor, AuditVerb.CALL, command=masked(line.strip()), outcome=outcome, reason=reason)

    def attempt(self, line: str) -> tuple[list[str] | None, bool]:
        """What is told before `` Done``, None for a line without words. Raises what EXPECTED lists."""
        found = words(line)
        if not found:
            return None, False
        if not has_secret(line):
            self.history = [*self.history, line.strip()][-MOST_REMEMBERED:]
        steps = expanded(found)
        context = Context(replace(self.actor, command=masked(line.strip())), self)
        told = self._all(context, steps) if len(steps) > 1 else self.execute(context, steps[0])
        return [*told, *(f"Warning: {note}" for note in context.notes)], context.closes

    def execute(self, context: Context, step: Sequence[Word]) -> list[str]:
        """Run one command; returns what it tells. Raises what EXPECTED lists."""
        parsed = commands().parse(step)
        if parsed.command.words[0].lower() in LOOKS and not context.actor.may(roles.VIEW_STATUS):
            msg = f"{context.actor.name} may not look at anything: the permission {roles.VIEW_STATUS} is missing."
            raise PermissionRefused(msg)
        entry = _entries()[tuple(word.lower() for word in parsed.command.words)]
        return list(entry.handler(context, parsed) or ())

    def _all(self, context: Context, steps: Sequence[Sequence[Word]]) -> list[str]:
        """Run all commands or none."""
        told: list[str] = []
        at = 0
        try:
            with transaction.atomic():
                for at, step in enumerate(steps):  # noqa: B007 - looked at after an error
                    told += self.execute(context, step)
        except PermissionRefused:
            self.execute(context, steps[at])  # alone: the audit keeps an attempt that the transaction took back
            raise
        return told

    def completed(self, kind: str, values: dict[str, Any]) -> dict[str, Any]:
        """The values of a new object, with NetScaler's defaults where lines are to mean what they mean there."""
        return NETSCALER_DEFAULTS.get(kind, {}) | values if self.netscaler else values

    def parse(self, line: str) -> Parsed:
        """What a line means, its ranges not expanded. Raises CliError."""
        found = words(line)
        if not found:
            raise CliError("The line is empty")
        return commands().parse(found)
