"""Whether the chain is whole, and where it is broken first if not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from django.db import connection

from webui.audit import archive, chain, triggers
from webui.audit.links import Broken, Head, follow
from webui.audit.stored import rows
from webui.models import AuditArchive, AuditEntry, AuditHead


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a verification found. ``entries`` were verified, of them ``archived`` in archive files.

    ``warnings`` weaken the audit without being a broken link.
    """

    head: Head
    entries: int
    archived: int = 0
    broken: Broken | None = None
    warnings: tuple[str, ...] = ()


def head() -> Head:
    """The end of the chain as AuditHead has it, to be kept where no one who writes the database can reach it."""
    row = AuditHead.objects.filter(pk=1).first()
    return Head(row.sequence, row.hash) if row else Head()


def parse_head(text: str) -> Head:
    """An exported head. Raises ValueError with a sentence."""
    try:
        found = json.loads(text)
        made = Head(int(found["sequence"]), str(found["hash"]).lower())
    except (ValueError, TypeError, KeyError) as error:
        msg = f"This is no head of the audit: a line of JSON with sequence and hash ({error})."
        raise ValueError(msg) from error
    if len(made.hash) != len(chain.GENESIS) or made.sequence < 0:
        msg = f"This is no head of the audit: sequence {made.sequence}, hash of {len(made.hash)} digits."
        raise ValueError(msg)
    return made


def verify(exported: Iterable[Head] = (), folder: Path | None = None) -> Verdict:
    """Follow the chain from its first entry, archives included, to its end, and past each head that was exported.

    Archives are looked for where they were written, or by their names in ``folder``. Raises django.db.DatabaseError.
    """
    wanted = {one.sequence: one for one in exported}
    last, entries, archived = Head(), 0, 0
    broken: Broken | None = None
    for step, in_archive in _steps(folder):
        if isinstance(step, Broken):
            broken = step
            break
        last, entries, archived = step, entries + 1, archived + in_archive
        broken = _differs(wanted.pop(last.sequence, last), last)
        if broken is not None:
            break
    else:
        broken = _past(last, wanted) or end_of(last)
    return Verdict(last, entries, archived, broken, warnings())


def _steps(folder: Path | None) -> Iterator[tuple[Head | Broken, bool]]:
    """Each link, and whether it is in an archive; a Broken ends it."""
    anchors = list(AuditArchive.objects.order_by("first"))
    last, twice = Head(), _twice(anchors)
    for anchor in anchors:
        for step in _of_archive(anchor, last, folder):
            yield step, True
            if isinstance(step, Broken):
                return
            last = step
            if twice.pop(last.sequence, last.hash) != last.hash:
                text = f"entry {last.sequence} of the database is another one than in the archive {anchor.path}."
                yield Broken(last.sequence, text), True
                return
    if twice:
        yield Broken(min(twice), f"entry {min(twice)} stands before the first: it was inserted."), False
        return
    for step in follow(rows(last.sequence), last):
        yield step, False


def _twice(anchors: list[AuditArchive]) -> dict[int, str]:
    """Hash by number of what is in the database although it is in an archive, or has no number that an entry can have.

    An archiving that was killed leaves such rows, or somebody put them there.
    """
    upto = anchors[-1].last if anchors else 0
    return {row.pk: chain.digest(chain.content(row)) for row in AuditEntry.objects.filter(pk__lte=upto).iterator()}


def _past(last: Head, wanted: Mapping[int, Head]) -> Broken | None:
    """What is wrong with the heads that the chain did not come past."""
    for one in sorted(wanted.values(), key=lambda one: one.sequence):
        if one.sequence:
            text = f"the end is cut off: the exported head is entry {one.sequence}, the chain ends at {last.sequence}."
            return Broken(last.sequence + 1, text)
        if one.hash != chain.GENESIS:
            return Broken(0, "the exported head is of another audit.")
    return None


def end_of(last: Head) -> Broken | None:
    """What is wrong with the end of a chain that was followed to ``last``: it should be at the head."""
    row = AuditHead.objects.filter(pk=1).first()
    if row is None:
        return Broken(last.sequence + 1, "the row of the head is gone: the end of the chain is not known.")
    if row.sequence > last.sequence:
        gone = f"the end is cut off: the head is entry {row.sequence}, the chain ends at {last.sequence}."
        return Broken(last.sequence + 1, gone)
    if row.sequence < last.sequence:
        text = f"entry {row.sequence + 1} was inserted: the head is entry {row.sequence}."
        return Broken(row.sequence + 1, text)
    return _differs(Head(row.sequence, row.hash), last)


def _differs(wanted: Head, found: Head) -> Broken | None:
    if wanted.hash == found.hash:
        return None
    return Broken(found.sequence, f"entry {found.sequence} is another one than the head says: the chain was rewritten.")


def _of_archive(anchor: AuditArchive, last: Head, folder: Path | None) -> Iterator[Head | Broken]:
    path = archive.located(anchor, folder)
    if anchor.first != last.sequence + 1:
        yield Broken(last.sequence + 1, f"no archive has entry {last.sequence + 1}: the next begins at {anchor.first}.")
        return
    if anchor.previous != last.hash:
        yield Broken(anchor.first, f"the archive {path.name} does not follow entry {last.sequence}.")
        return
    try:
        for step in follow(archive.entries(path), last):
            yield step
            if isinstance(step, Broken):
                return
            last = step
    except FileNotFoundError:
        yield Broken(last.sequence + 1, f"the archive {path} with entries {anchor.first} to {anchor.last} is missing.")
        return
    except (OSError, ValueError, EOFError) as error:
        yield Broken(last.sequence + 1, f"the archive {path} cannot be read on: {error}.")
        return
    if (last.sequence, last.hash) != (anchor.last, anchor.hash):
        text = f"the archive {path} ends at entry {last.sequence}, which is not the one that the anchor names."
        yield Broken(last.sequence + 1 if last.sequence < anchor.last else anchor.last, text)


def warnings() -> tuple[str, ...]:
    """What weakens the audit without being a broken link."""
    missing = triggers.wanted(connection) - triggers.present(connection)
    if not missing:
        return ()
    return (f"Triggers of the database are missing: {', '.join(sorted(missing))}. “migrate” makes them again.",)
