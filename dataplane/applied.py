"""The audit entry of each revision that this director applied, correlated with the change that made it.

It is made here, where the round is over, and not from the status row: that one is overwritten by the next round, and
whoever looked at it would miss revisions that were current for a moment. Rounds that health or neighbours caused apply
no revision and have no entry.

What is to be written goes into a file (:mod:`dataplane.spool`) before anything else tells of the revision, and leaves
it when the database has it: while others append, or the database is away, it waits there, and a process that is killed
loses nothing. To look instead, at the next start, at what the kernel holds would find one revision, the last, and
neither when it was applied nor what that took.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from django import db
from django.utils import timezone

from dataplane.reconcile import Round
from dataplane.spool import Spool
from webui import auditing
from webui.actions.base import Actor
from webui.choices import AuditVerb
from webui.models import AuditEntry, DataplaneStatus

MOST_WAITING: Final = 1000  # in the file, 200 kB; what comes then is one entry, until there is room
_LARGEST: Final = 2**63 - 1  # of a revision, for the database

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Note:
    """That a revision was applied. Director, revision and moment (ISO 8601, microseconds) tell it from all others."""

    at: str
    before: int
    revision: int
    milliseconds: float
    writes: int

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Note:
        """From a line of the file. Raises ValueError for what the database would not take."""
        try:
            note = cls(**record)
            good = datetime.fromisoformat(note.at).tzinfo is not None and type(note.milliseconds) in {int, float}
            numbers = (note.before, note.revision, note.writes)
            good &= all(type(number) is int and 0 <= number <= _LARGEST for number in numbers)
            if not good or not 0 <= note.milliseconds < math.inf:
                raise ValueError
        except (TypeError, ValueError) as error:
            msg = f"no note of an applied revision: {record!r:.200}"
            raise ValueError(msg) from error
        return note

    def and_then(self, later: Note) -> Note:
        """Both as one, as of revisions that are applied in one round: the later revision."""
        milliseconds = round(self.milliseconds + later.milliseconds, 3)
        return Note(later.at, self.before, later.revision, milliseconds, self.writes + later.writes)


@dataclass(slots=True)
class Applied:
    """Notes revisions as they are applied. Without ``folder`` what waits is kept in memory alone."""

    director: str
    folder: Path | None = None
    last: int | None = None  # None: not known yet
    waiting: list[Note] = field(default_factory=list)
    _spool: Spool | None = None
    _spooled: int = 0  # so many of those that wait are in the file, from the first on
    _complaint: str = ""  # that the log has
    _seconds: float = 0.0  # of rounds for a revision that failed so far
    _writes: int = 0

    def __post_init__(self) -> None:
        if self.folder is not None:
            self._spool = Spool(self.folder / f"applied-{quote(self.director, safe='')}.jsonl")

    def begin(self) -> None:
        """Find out what was noted before this process started; call it before the first round.

        Raises django.db.Error.
        """
        if self.last is not None:
            return
        self._keep()
        if self.waiting:  # noted, and perhaps neither in the audit nor in the status row
            self.last = self.waiting[-1].revision
            log.info("%d entries of the audit waited for this start", len(self.waiting))
            return
        row = DataplaneStatus.objects.filter(director=self.director).values_list("applied_revision", flat=True)
        reported = row.first() or 0
        # The audit may have taken an entry when the status row, which is written first, could not be.
        mine = AuditEntry.objects.filter(verb=AuditVerb.APPLY, kind="director", object_name=self.director)
        beyond = mine.filter(revision__gt=reported).order_by("-revision").values_list("revision", flat=True)
        self.last = beyond.first() or reported

    def take(self, done: Round) -> None:
        """Note a round that has applied another revision; call it before the status row is written.

        The database is not asked.
        """
        seconds, writes = self._seconds + done.seconds, self._writes + done.writes
        revision = done.desired.revision
        if done.error:
            self._seconds, self._writes = (seconds, writes) if revision != self.last else (0.0, 0)
            return
        self._seconds, self._writes = 0.0, 0
        if revision == self.last:
            return
        at = timezone.now().isoformat("T", "microseconds")
        note = Note(at, self.last or 0, revision, round(seconds * 1000, 3), writes)
        if len(self.waiting) > MOST_WAITING:
            self.waiting[-1] = self.waiting[-1].and_then(note)
        else:
            self.waiting.append(note)
        self.last = revision
        self._keep()

    def write(self) -> None:
        """Append what waits. While another process appends, and so keeps the lock, it goes on waiting.

        Raises django.db.Error.
        """
        if not self.waiting:
            return
        self._keep()
        try:
            auditing.append(self._drafts(), wait=False, once=True)
        except db.OperationalError as error:
            log.info("%d entries of the audit wait: %s", len(self.waiting), error)
            return
        self.waiting, self._spooled = [], 0
        if self._spool is not None and self._spool.is_open:
            try:
                self._spool.clear()
            except OSError as error:
                self._complain(error)

    def close(self) -> None:
        """Let go of the file; what waits stays in it."""
        if self._spool is not None:
            self._spool.close()

    def _drafts(self) -> list[AuditEntry]:
        made = AuditEntry.objects.filter(revision__in={note.revision for note in self.waiting})
        causes = made.exclude(verb=AuditVerb.APPLY).order_by("-pk").values_list("revision", "correlation")
        correlations = dict(causes)  # of several the first, which comes last here
        return [self._draft(note, correlations.get(note.revision, "")) for note in self.waiting]

    def _draft(self, note: Note, correlation: str) -> AuditEntry:
        entry = auditing.draft(
            Actor.system(f"director {self.director}"),
            AuditVerb.APPLY,
            kind="director",
            object_name=self.director,
            before={"revision": note.before},
            after={"revision": note.revision, "milliseconds": note.milliseconds, "map writes": note.writes},
            reason=f"revision {note.revision} applied on {self.director} in {note.milliseconds:.1f} ms, "
            f"{note.writes} map writes",
            revision=note.revision,
            correlation=correlation,
        )
        entry.at = datetime.fromisoformat(note.at)
        return entry

    def _keep(self) -> None:
        """Bring the file up to what waits; where it cannot be had, the log tells once, and memory has to do."""
        if self._spool is None:
            return
        try:
            if not self._spool.is_open:
                found = _notes(self._spool.open())
                self.waiting = [*found, *(note for note in self.waiting if note not in found)]
                self._spooled = len(found)
            for note in self.waiting[self._spooled : MOST_WAITING]:
                self._spool.append(asdict(note))
                self._spooled += 1
        except OSError as error:
            self._complain(error)
        else:
            self._complaint = ""

    def _complain(self, error: OSError) -> None:
        if self._spool is None:
            return
        self._spool.close()  # the next time it is opened, and read, anew
        self._spooled = 0
        words = "another process has it" if isinstance(error, BlockingIOError) else str(error)
        if words != self._complaint:
            self._complaint = words
            log.error(
                "%s cannot be used (%s): entries of the audit that wait for the database would be lost with this "
                "process; see HALFPIPE_STATE_DIR",
                self._spool.path,
                words,
            )


def _notes(records: Sequence[Mapping[str, Any]]) -> list[Note]:
    found = []
    for record in records:
        try:
            found.append(Note.of(record))
        except ValueError as error:
            log.error("%s", error)
    return found
