"""The audit entry of each revision that this director applied, correlated with the change that made it.

It is made here, where the round is over, and not from the status row: that one is overwritten by the next round, and
whoever looked at it would miss revisions that were current for a moment. Rounds that health or neighbours caused apply
no revision and have no entry.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Final

from django import db

from dataplane.reconcile import Round
from webui import auditing
from webui.actions.base import Actor
from webui.choices import AuditVerb
from webui.models import AuditEntry, DataplaneStatus

MOST_WAITING: Final = 1000

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Applied:
    """Notes revisions as they are applied. Entries wait here while others append, or the database is away."""

    director: str
    last: int | None = None  # None: not known yet
    waiting: list[AuditEntry] = field(default_factory=list)
    _seconds: float = 0.0  # of rounds for a revision that failed so far
    _writes: int = 0

    def take(self, done: Round) -> None:
        """Draft an entry when a round has applied another revision; call it before the status row is written.

        Raises django.db.Error.
        """
        if self.last is None:  # what was applied before this process started was noted then
            row = DataplaneStatus.objects.filter(director=self.director).values_list("applied_revision", flat=True)
            self.last = row.first() or 0
        seconds, writes = self._seconds + done.seconds, self._writes + done.writes
        revision = done.desired.revision
        if done.error:
            self._seconds, self._writes = (seconds, writes) if revision != self.last else (0.0, 0)
            return
        self._seconds, self._writes = 0.0, 0
        if revision != self.last:
            self.waiting = [*self.waiting, self._draft(revision, seconds, writes)][-MOST_WAITING:]
            self.last = revision

    def _draft(self, revision: int, seconds: float, writes: int) -> AuditEntry:
        cause = AuditEntry.objects.filter(revision=revision).exclude(verb=AuditVerb.APPLY)
        milliseconds = round(seconds * 1000, 3)
        return auditing.draft(
            Actor.system(f"director {self.director}"),
            AuditVerb.APPLY,
            kind="director",
            object_name=self.director,
            before={"revision": self.last},
            after={"revision": revision, "milliseconds": milliseconds, "map writes": writes},
            reason=f"revision {revision} applied on {self.director} in {milliseconds:.1f} ms, {writes} map writes",
            revision=revision,
            correlation=cause.values_list("correlation", flat=True).order_by("pk").first() or "",
        )

    def write(self) -> None:
        """Append what waits. While another process appends, and so keeps the lock, it goes on waiting.

        Raises django.db.Error.
        """
        if not self.waiting:
            return
        try:
            auditing.append(self.waiting, wait=False)
        except db.OperationalError as error:
            log.info("%d entries of the audit wait: %s", len(self.waiting), error)
            return
        self.waiting = []
