"""The frame of every action: permission, lock, change, revision, audit, and the wake after commit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser, User
from django.db import models, transaction
from django.db.models import F

from webui import auditing, known, live, roles, wake
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.audit import chain
from webui.choices import AuditVerb, Interface
from webui.journal import Journal, journal
from webui.models import AuditEntry, EventTarget, Installation, Monitor, Server, Service, ServiceGroup, VServer
from webui.models.fields import MODELS_IN_WORDS, same_name, with_article

__all__ = [
    "Actor",
    "Change",
    "ConflictError",
    "NotFoundError",
    "PermissionRefused",
    "change",
    "find",
    "one_change",
    "wanted_version",
]

INSTALLATION = 1
LONGEST_NAME = 150  # characters, as of a user's
SUMMED_UP = 5  # of the entries of a change, in the list of revisions

Configured = Server | Service | ServiceGroup | VServer | Monitor | EventTarget
Changeable = Configured | Installation
Named = TypeVar("Named", Server, Service, ServiceGroup, VServer, Monitor, EventTarget)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who asks for a change, from where. Use :meth:`system` for commands that run on the host itself.

    ``command`` is what was typed on the command line, or method and path of the API. ``correlation`` ties all audit
    entries of one request or command together: make one actor for each. ``operator`` is the name of a user of the
    operating system, who runs the command line on the host: whoever can do that can do everything anyway. ``scope`` is
    the role that an API token is limited to, and ``token`` its name; None and "" without one.
    """

    user: User | AnonymousUser | None
    interface: str
    source_address: str | None = None
    command: str = ""
    correlation: str = field(default_factory=auditing.new_correlation, compare=False)
    operator: str = ""
    scope: str | None = None
    token: str = ""

    @classmethod
    def system(cls, name: str) -> Actor:
        """A management command called ``name``: whoever can run it can do everything anyway."""
        return cls(user=None, interface=Interface.SYSTEM, command=name)

    @property
    def name(self) -> str:
        """Name for the audit and revisions: the user's, or the command's; such that every database holds it."""
        if self.user is None:
            return chain.text(self.operator or self.command)[:LONGEST_NAME]
        return self.user.get_username() or "anonymous"

    def may(self, permission: str) -> bool:
        """Whether the actor has a permission such as ``webui.add_server``: the user, and the token's scope, if any."""
        user = self.user
        if user is None:
            return self.interface == Interface.SYSTEM or bool(self.operator)
        return any(
            user.has_perm(one) and (self.scope is None or roles.grants(self.scope, one))
            for one in roles.sufficient(permission)
        )


@dataclass(slots=True)
class Change:
    """A change under way: holds the lock on the configuration and collects the audit entries."""

    actor: Actor
    revision: int
    journal: Journal
    entries: list[AuditEntry] = field(default_factory=list)
    back_to: int | None = None  # the revision that is brought back
    summary: str = ""  # of many actions in one; else what they are is told by the entries
    at_end: dict[Callable[[], None], None] = field(default_factory=dict)
    parts: int = 0  # within each other, that are under way

    def record(
        self,
        verb: AuditVerb,
        row: Changeable,
        *,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        reason: str = "",
    ) -> None:
        """Note what was done to ``row``; written with the revision when the change is complete."""
        self.entries.append(
            auditing.draft(
                self.actor,
                verb,
                kind=kind_of(type(row)),
                object_id=row.pk,
                object_name=row.name,
                before=before,
                after=after,
                reason=reason,
                revision=self.revision,
            )
        )

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Part of the change: after an exception nothing is left of what was done inside, in no table and no record.

        Within another part the exception must end that one too: the database refuses everything else until then.
        """
        entries, noted, at_end = len(self.entries), self.journal.mark(), set(self.at_end)
        self.parts += 1
        try:
            # One savepoint for both: each costs two statements.
            with transaction.atomic(savepoint=self.parts == 1):
                yield
        except BaseException:
            del self.entries[entries:]
            self.journal.forget(noted)
            if (rows := known.current()) is not None:  # which may have been changed in memory
                rows.forget()
            for one in self.at_end.keys() - at_end:
                del self.at_end[one]
            raise
        finally:
            self.parts -= 1

    def settle(self) -> None:
        """Do what was left for the end, once each. Raises ValidationError."""
        while self.at_end:
            action = next(iter(self.at_end))
            del self.at_end[action]
            action()

    def complete(self) -> None:
        """Raise the revision, write the audit, and tell the others after commit. Without entries nothing changed."""
        if not self.entries:
            return
        Installation.objects.filter(pk=INSTALLATION).update(revision=F("revision") + 1)
        auditing.append(self.entries, locked=True)
        self.journal.write(
            number=self.revision,
            actor_name=self.actor.name,
            interface=self.actor.interface,
            summary=self._summary(),
            back_to=self.back_to,
        )
        # Robust, and one by one: what was committed stands, whoever cannot be told of it.
        transaction.on_commit(_wake, robust=True)
        transaction.on_commit(_announce, robust=True)

    def _summary(self) -> str:
        if self.back_to is not None:
            return f"back to revision {self.back_to}"
        first, more = self.entries[:SUMMED_UP], len(self.entries) - SUMMED_UP
        told = "; ".join(
            f"{entry.get_verb_display()} {MODELS_IN_WORDS.get(entry.kind, entry.kind)} {entry.object_name}"
            for entry in first
        )
        return (f"{self.summary}: " if self.summary else "") + told + (f" and {more} more" if more > 0 else "")


def kind_of(model: type[models.Model]) -> str:
    """The audit's name of a model: its name in lower case, such as ``vserver`` or ``servicegroup``."""
    return str(model._meta.model_name)


def words_of(model: type[models.Model]) -> str:
    """What messages call a model: ``vserver``, ``service group``."""
    return MODELS_IN_WORDS.get(kind_of(model), kind_of(model))


def permission_of(model: type[models.Model], deed: str) -> str:
    """Django's name of a permission; ``deed`` is ``add``, ``change``, ``delete``, ``enable`` or ``disable``."""
    verb = "enable" if deed == "disable" else deed  # who may do the one may undo it
    return f"{model._meta.app_label}.{verb}_{model._meta.model_name}"


@contextmanager
def change(actor: Actor, model: type[Changeable], deed: str, name: str) -> Iterator[Change]:
    """Do what is inside as one change of ``name``: all of it or nothing.

    ``deed`` is ``add``, ``change``, ``delete``, ``enable``, ``disable`` or the model's own. Raises
    :class:`PermissionRefused`, after
    writing the attempt to the audit in a transaction of its own. Changes follow each other (the installation's row is
    locked), so rules that look at several rows hold when two people work at once.
    """
    require(actor, model, deed, name)
    whole = _whole.get()
    if whole is not None:
        with whole.attempt():
            # By whoever does this part of it, with the command that was typed for it.
            yield Change(actor, whole.revision, whole.journal, whole.entries)
        return
    with transaction.atomic(), journal() as noted:
        current = Change(actor, lock_installation() + 1, noted)
        yield current
        current.complete()


@contextmanager
def one_change(actor: Actor, summary: str) -> Iterator[Change]:
    """Make one revision of all actions inside, one roll-back of which takes everything back: all of it or nothing.

    Each action needs its own permission, and has its own audit entries with the number of that revision. Of an action
    that raises nothing is left, so whoever catches that may go on; for several that belong together there is
    :meth:`Change.attempt`. What is the same after each action, such as :func:`webui.actions.checks.sync_checks`, is
    done once at the end, and may raise there. The configuration is locked all the while. RuntimeError within another.
    """
    with transaction.atomic(), journal() as noted, known.remembered():
        current = Change(actor, lock_installation() + 1, noted, summary=summary)
        token = _whole.set(current)
        try:
            yield current
            current.settle()
            noted.settle_versions()
            current.complete()
        finally:
            _whole.reset(token)


def at_end(action: Callable[[], None]) -> bool:
    """Leave ``action`` for the end of the change that many actions are part of; False when there is none."""
    whole = _whole.get()
    if whole is not None:
        whole.at_end[action] = None
    return whole is not None


def alone() -> None:
    """RuntimeError within :func:`one_change`, whose revision is not there yet: for what works with revisions."""
    if _whole.get() is not None:
        msg = "A change of many actions is under way, and it is no revision before it ends."
        raise RuntimeError(msg)


_whole: ContextVar[Change | None] = ContextVar("whole", default=None)


def require(actor: Actor, model: type[Changeable], deed: str, name: str) -> None:
    """Raise :class:`PermissionRefused`, and write it to the audit, unless the actor has the permission."""
    permission = permission_of(model, deed)
    if actor.may(permission):
        return
    kind = kind_of(model)
    reason = f"{actor.name} may not {deed} {with_article(words_of(model))}: the permission {permission} is missing."
    shown = name[:255].replace("\0", "")
    object_id: int | None = INSTALLATION
    if not issubclass(model, Installation):
        object_id = model._default_manager.filter(name__iexact=shown).values_list("pk", flat=True).first()
    auditing.note(actor, AuditVerb.REFUSE, kind=kind, object_id=object_id, object_name=shown, reason=reason)
    raise PermissionRefused(reason)


def note_attempt(  # noqa: PLR0913 - each is a column
    actor: Actor,
    verb: str,
    row: Changeable,
    after: Mapping[str, Any],
    *,
    before: Mapping[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Write to the audit what the actor does with ``row`` without a change of it; no revision, no wake."""
    kind, name = kind_of(type(row)), row.name
    auditing.note(actor, verb, kind=kind, object_id=row.pk, object_name=name, before=before, after=after, reason=reason)


def lock_installation() -> int:
    """Lock the configuration until the transaction ends; returns its revision. RuntimeError within one_change."""
    alone()
    # SQLite has no row locks: there the transaction took the write lock when it began (see the settings).
    row, _made = Installation.objects.select_for_update().get_or_create(pk=INSTALLATION)
    return row.revision


def by_name(model: type[Named], name: str) -> Named | None:
    """The object of that name, whatever its case, or None."""
    if "\0" in name:  # which a database would refuse to look for
        return None
    rows = known.current()
    if rows is not None and (found := rows.named(model, name)) is not None:
        return found
    row = same_name(model, name).first()
    if rows is not None and row is not None:
        rows.add(row)
    return row


def find(model: type[Named], name: str) -> Named:
    """The object of that name, whatever its case; raises :class:`NotFoundError`."""
    row = by_name(model, name)
    if row is None:
        msg = f"No such resource: {words_of(model)} “{name}”."
        raise NotFoundError(msg)
    return row


def reload(row: Named) -> Named:
    """The row as the database has it now, locked; raises :class:`NotFoundError` when it was deleted meanwhile."""
    rows = known.current()
    if rows is not None and rows.has(row):
        return row
    found = type(row)._default_manager.select_for_update().filter(pk=row.pk).first()
    if found is None:
        msg = f"No such resource: {words_of(type(row))} “{row.name}” was deleted meanwhile."
        raise NotFoundError(msg)
    if rows is not None:
        rows.add(found)
    return found


def wanted_version(row: Configured, expected: int | None) -> None:
    """Raise :class:`ConflictError` unless ``row``, just reloaded, still has the version that the caller saw."""
    if expected is None or row.version == expected:
        return
    entries = _entries_since(row, row.version - expected)
    changes = [_in_words(entry) for entry in entries]
    said = "; ".join(changes) or "by an unknown hand"
    msg = f"{words_of(type(row))} “{row.name}” changed since you opened it: {said}. Look at it again, then repeat."
    before: dict[str, Any] = {}
    for entry in reversed(entries):
        if entry.verb not in {AuditVerb.BIND, AuditVerb.UNBIND}:  # those name what was bound, not fields
            before |= entry.before or {}
    raise ConflictError(msg, current_version=row.version, changes=changes, before=before)


def _entries_since(row: Configured, versions: int) -> list[AuditEntry]:
    """The last changes of a row, oldest first; one version is one revision, perhaps of several entries."""
    entries = AuditEntry.objects.filter(kind=kind_of(type(row)), object_id=row.pk, revision__isnull=False)
    revisions = list(entries.order_by("-revision").values_list("revision", flat=True).distinct()[: max(versions, 1)])
    return list(entries.filter(revision__in=revisions).order_by("pk"))


def touch(row: Configured) -> None:
    """Count a change of what belongs to a row, such as its bindings, as a change of the row."""
    row.version += 1
    row.save(update_fields=["version", "updated_at"])


def _in_words(entry: AuditEntry) -> str:
    before, after = entry.before or {}, entry.after or {}
    parts = [
        f"{name} {before[name]} → {value}" if name in before else f"{name} {value}"
        for name, value in sorted((after or before).items())  # PostgreSQL keeps no order of a JSON object's names
    ]
    return f"{entry.get_verb_display()} by {entry.actor_name} at {entry.at:%H:%M:%S} UTC ({', '.join(parts)})"


def _wake() -> None:
    wake.wake_dataplane()


def _announce() -> None:
    live.publish({"type": "live.changed", "what": "configuration"})
