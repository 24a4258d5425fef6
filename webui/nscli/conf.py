"""Import of a whole ``ns.conf``: every line is applied, ignored or refused, and all of it or nothing is done."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from django.core.exceptions import ValidationError

from webui.actions.base import Actor, Change, one_change
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.nscli.errors import CliError
from webui.nscli.families import family
from webui.nscli.grammar import Parsed
from webui.nscli.lexer import logical_lines, words
from webui.nscli.masking import masked
from webui.nscli.relevance import irrelevant, why_left_out
from webui.nscli.session import Session, commands
from webui.nscli.told import in_one_line

APPLIED: Final = "applied"
IGNORED: Final = "ignored"
REFUSED: Final = "refused"
SUMMARY: Final = "import of ns.conf"
TOGETHER: Final = "# all lines together"  # what is refused that no single line is to blame for; its number is 0
MOST_CHARACTERS: Final = 8 * 1024 * 1024
# A saved configuration begins with the version of the NetScaler that wrote it.
_NETSCALER: Final = re.compile(r"\s*#\s*NS\d+\.\d+", re.IGNORECASE)
Progress = Callable[[int, int], None]  # lines that were looked at, and all lines
_LINE_ERRORS: Final = (CliError, ValidationError, NotFoundError, PermissionRefused, ConflictError)


@dataclass(frozen=True)
class Line:
    """What became of one line; ``line`` has its secrets hidden, ``why`` says more, or nothing."""

    number: int
    line: str
    outcome: str
    why: str = ""


@dataclass
class Report:
    """What became of each line; ``done``: whether the applied ones were kept.

    ``netscaler``: it was written by a NetScaler, and what it does not name is as NetScaler has it.
    """

    lines: list[Line] = field(default_factory=list)
    done: bool = False
    netscaler: bool = False

    @property
    def counts(self) -> dict[str, int]:
        """How many lines were applied, ignored and refused."""
        found = Counter(one.outcome for one in self.lines)
        return {outcome: found[outcome] for outcome in (APPLIED, IGNORED, REFUSED)}

    @property
    def summary(self) -> str:
        """One sentence."""
        counts = ", ".join(f"{number} {outcome}" for outcome, number in self.counts.items())
        if self.done:
            return f"{counts}: the applied lines are in the running configuration."
        return f"{counts}: nothing was changed."


def import_configuration(  # noqa: PLR0913 - each is a choice of whoever imports
    actor: Actor,
    text: str,
    *,
    apply: bool = False,
    skip_refused: bool = False,
    netscaler: bool | None = None,
    progress: Progress | None = None,
) -> Report:
    """Run the lines of a saved configuration as one revision; without ``apply`` only tell what would happen.

    A refused line leaves everything as it was, unless ``skip_refused``. ``netscaler``: see :class:`Report`; None finds
    it out by the first line. ``progress`` is called after each line. Raises CliError for a text that is too long.
    """
    if len(text) > MOST_CHARACTERS:
        raise CliError(f"The file has {len(text)} characters; at most {MOST_CHARACTERS} are allowed")
    foreign = _NETSCALER.match(text) is not None if netscaler is None else netscaler
    run = _Run(Session(actor, netscaler=foreign))
    lines = list(_commands_of(text))
    report = Report(netscaler=foreign)
    if foreign:
        run.left_out = irrelevant(_parsed(run.session, lines))
    with suppress(_TakenBack), one_change(actor, SUMMARY) as whole:
        for at, (number, line) in enumerate(lines, 1):
            report.lines.append(run.outcome(whole, number, line))
            if progress is not None:
                progress(at, len(lines))
        together = list(_together(whole))
        report.lines += together
        report.done = apply and not together and (skip_refused or not report.counts[REFUSED])
        if not report.done:
            raise _TakenBack
    if apply and run.denied:
        run.session.run(run.denied)  # once more and alone: the audit keeps an attempt that was taken back with the rest
    return report


def _commands_of(text: str) -> Iterator[tuple[int, str]]:
    for number, line in logical_lines(text):
        if not line.lstrip().startswith("#"):
            yield number, line


def _parsed(session: Session, lines: list[tuple[int, str]]) -> Iterator[Parsed]:
    for _number, line in lines:
        try:
            yield session.parse(line)
        except CliError:
            continue  # told when it is its turn


class _TakenBack(Exception):  # noqa: N818 - it is no error
    """Nothing is to be left of the change."""


def _together(whole: Change) -> Iterator[Line]:
    """What follows from all lines together; a line of the report for what is wrong with it."""
    try:
        with whole.attempt():
            whole.settle()
    except ValidationError as error:
        yield Line(0, TOGETHER, REFUSED, in_one_line(error))


@dataclass
class _Run:
    """What the lines of one file know of each other."""

    session: Session
    left_out: dict[tuple[str, str], str] = field(default_factory=dict)
    denied: str = ""  # the first line that the actor may not run

    def outcome(self, whole: Change, number: int, line: str) -> Line:
        """Run a line, or pass it over."""
        shown = masked(" ".join(line.split("\n")).strip())
        try:
            if why := self._why_ignored(line):
                return Line(number, shown, IGNORED, why)
            with whole.attempt():
                told = self.session.attempt(line)[0] or []
        except _LINE_ERRORS as error:
            if isinstance(error, PermissionRefused):
                self.denied = self.denied or line
            return Line(number, shown, REFUSED, in_one_line(error))
        return Line(number, shown, APPLIED, "; ".join(one.removeprefix("Warning: ") for one in told))

    def _why_ignored(self, line: str) -> str:
        """Why a line is passed over; empty for one to run. Raises CliError for what is no command at all."""
        found = words(line)
        try:
            command, _used = commands().find(found)
        except CliError:
            known = family([word.text for word in found])
            if known is None:
                raise
            return f"{known[0]}: {known[1]}"
        if not command.configures:
            if command.words[0] in {"batch", "source"}:
                raise CliError(f"{command.words[0]} runs another file: import that one too")
            if command.words[0] == "clear":
                raise CliError("it is no line of a saved configuration: clear first, and import then")
            return "it changes nothing"
        if command.words[-1] == "param" and self.session.netscaler:
            return "ns param: it tunes NetScaler itself"
        return why_left_out(self.session.parse(line), self.left_out) if self.left_out else ""
