"""Writing to the audit: everybody who has something to record calls :func:`note`.

Entries are chained (:mod:`webui.audit.chain`), so they are appended one after the other: the row of AuditHead is locked
until the transaction ends. The order of locks is Installation, then AuditHead, then nothing more. A change holds the
first already; :func:`note` within a transaction of its caller takes both, since the caller may go on to change
something; on its own it needs the second only. So no two ever wait for each other.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, TypedDict, Unpack

from django.contrib.auth.models import User
from django.db import connection, transaction

from webui.audit import chain, masking
from webui.choices import AuditVerb, Interface, Outcome
from webui.models import AuditEntry, AuditHead, Installation

if TYPE_CHECKING:
    from webui.actions.base import Actor

LONGEST_TEXT: Final = 16_384  # characters of a reason or a command; the rest is cut
_OUTCOMES: Final = {str(AuditVerb.REFUSE): Outcome.REFUSED, str(AuditVerb.FAIL): Outcome.FAILED}


class Details(TypedDict, total=False):
    """What an entry may say besides who did what; all of it is optional.

    ``correlation`` and ``command`` are the actor's if not given (or None). ``outcome`` follows from the verb: refused
    for REFUSE, failed for FAIL, else success.
    """

    kind: str
    object_id: int | None
    object_name: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    reason: str
    revision: int | None
    correlation: str | None
    command: str | None
    outcome: str | None


def new_correlation() -> str:
    """16 hexadecimal digits by chance: one for each request or command, written into all that it causes."""
    return secrets.token_hex(8)


def note(actor: Actor, verb: str, **details: Unpack[Details]) -> AuditEntry:
    """Append one entry, in a transaction of its own if none is open; secrets in it are masked.

    See :class:`Details` for the keywords. Raises django.db.DatabaseError.
    """
    entry = draft(actor, verb, **details)
    append([entry])
    return entry


def refused(actor: Actor, *, kind: str, name: str, reason: str, object_id: int | None = None) -> None:
    """Append that something was refused. Raises django.db.DatabaseError."""
    note(actor, AuditVerb.REFUSE, kind=kind, object_id=object_id, object_name=name, reason=reason)


def draft(actor: Actor, verb: str, **details: Unpack[Details]) -> AuditEntry:
    """An entry as :func:`note` would make it, for :func:`append`: masked, cut to size, without sequence and hash."""
    user = actor.user if isinstance(actor.user, User) else None
    command = details.get("command")
    if command is None:  # a command that runs on the host is its own name
        command = actor.command if actor.user is not None or actor.interface == Interface.CLI else ""
    correlation = details.get("correlation")
    names, kind = secret_names(), details.get("kind", "")
    return AuditEntry(
        actor_id=user.pk if user is not None else None,
        actor_name=chain.text(actor.name)[:150],
        source_address=as_address(actor.source_address),
        interface=str(actor.interface),
        verb=str(verb)[:16],
        outcome=str(details.get("outcome") or _OUTCOMES.get(str(verb), Outcome.SUCCESS)),
        kind=chain.text(kind)[:32],
        object_id=details.get("object_id"),
        object_name=chain.text(masking.text(details.get("object_name", "")))[:255],
        before=chain.plain(masking.values(kind, details.get("before"), names)),
        after=chain.plain(masking.values(kind, details.get("after"), names)),
        reason=chain.text(masking.text(details.get("reason", ""), names))[:LONGEST_TEXT],
        command=chain.text(masking.command(command, names))[:LONGEST_TEXT],
        correlation=chain.text(actor.correlation if correlation is None else correlation)[:32],
        revision=details.get("revision"),
    )


def append(entries: Sequence[AuditEntry], *, locked: bool = False, wait: bool = True, once: bool = False) -> None:
    """Append drafts in their order. ``locked``: the caller holds the installation's lock.

    With ``wait`` false, raises django.db.OperationalError at once when another transaction is appending (PostgreSQL;
    SQLite knows one writer and waits for it anyway). With ``once`` those are left out that are there already, told by
    their moment, verb, object and revision: for who does not know whether an earlier attempt was committed.
    Raises django.db.DatabaseError.
    """
    if not entries:
        return
    within = connection.in_atomic_block
    with transaction.atomic():
        if within and not locked:
            Installation.objects.select_for_update(nowait=not wait).order_by("pk").values_list("pk").first()
        head = _locked_head(wait=wait)
        if once:  # looked at under the lock: what was under way when it was taken is there now, or never will be
            entries = _missing(entries)
        for entry in entries:
            entry.pk, entry.previous = head.sequence + 1, head.hash
            entry.hash = chain.digest(chain.content(entry))
            head.sequence, head.hash = entry.pk, entry.hash
        AuditEntry.objects.bulk_create(entries)
        head.save(update_fields=["sequence", "hash"])


def _missing(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    names = ("at", "verb", "kind", "object_name", "revision")
    there = set(AuditEntry.objects.filter(at__in={entry.at for entry in entries}).values_list(*names))
    return [entry for entry in entries if tuple(getattr(entry, name) for name in names) not in there]


def _locked_head(*, wait: bool = True) -> AuditHead:
    """The end of the chain, locked until the transaction ends; made from the entries where it is missing."""
    # SQLite has no row locks: there the transaction took the write lock when it began (see the settings).
    head = AuditHead.objects.select_for_update(nowait=not wait).filter(pk=1).first()
    if head is not None:
        return head
    last = AuditEntry.objects.order_by("-pk").values("pk", "hash").first() or {"pk": 0, "hash": chain.GENESIS}
    AuditHead.objects.get_or_create(pk=1, defaults={"sequence": last["pk"], "hash": last["hash"]})
    return AuditHead.objects.select_for_update().get(pk=1)


def as_address(source: str | None) -> str | None:
    """An address the database takes: the peer of a Unix socket has none, and a scope (RFC 4007) is left out."""
    try:
        return str(ip_address((source or "").partition("%")[0]))
    except ValueError:
        return None


@lru_cache(maxsize=1)
def secret_names() -> frozenset[str]:
    """Plain names of all parameters of monitors and event targets that are secret."""
    from monitors.parameters import plain  # noqa: PLC0415 - loads every kind, which few processes need
    from monitors.registry import KINDS as MONITORS  # noqa: PLC0415 - as above
    from webui.events.kinds import KINDS as TARGETS  # noqa: PLC0415 - as above

    found = {one.name for kind in MONITORS.values() for one in kind.parameters if one.secret}
    return frozenset(plain(name) for name in found.union(*(kind.secrets for kind in TARGETS.values())))
