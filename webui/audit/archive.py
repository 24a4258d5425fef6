"""Old entries go into files that still verify: gzip (RFC 1952) of JSON Lines, one entry a line, first to last.

The file is complete on disk before an anchor names its last entry, and only then do the triggers let the entries go.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.db import connection, transaction

from webui import auditing
from webui.audit import chain
from webui.audit.links import Broken, Head, follow
from webui.audit.stored import rows
from webui.choices import AuditVerb
from webui.models import AuditArchive, AuditEntry

if TYPE_CHECKING:
    from webui.actions.base import Actor

BATCH: Final = 2000


class ArchiveError(Exception):
    """Nothing was archived; the text says why."""


def name_of(first: int, last: int) -> str:
    """The name of the file with these entries; names sort by sequence number."""
    return f"audit-{first:012d}-{last:012d}.jsonl.gz"


def located(anchor: AuditArchive, folder: Path | None = None) -> Path:
    """Where an archive should be: where it was written, or in ``folder``."""
    path = Path(anchor.path)
    return path if folder is None else folder / path.name


def entries(path: Path) -> Iterator[dict[str, Any]]:
    """The entries of a file, as :func:`webui.audit.verify.follow` wants them.

    Raises OSError, EOFError and ValueError for a file that is damaged.
    """
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            found = json.loads(line)
            if not isinstance(found, dict) or not {*chain.FIELDS, "hash"} <= found.keys():
                msg = f"line {number} is no audit entry"
                raise ValueError(msg)
            yield found


def archive(actor: Actor, before: datetime, folder: Path) -> AuditArchive:
    """Write the entries older than ``before`` into a file in ``folder``, then delete them here.

    They are verified on the way: a broken chain is not archived. Raises ArchiveError, OSError and
    django.db.DatabaseError; whatever fails, entries are deleted only when the file with them is complete.
    """
    start, last = _range(before)
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(start.sequence + 1, last)
    if path.exists():
        msg = f"{path} is there already and no anchor names it: remove it if an archiving that was stopped left it."
        raise ArchiveError(msg)
    end = _write(path, start, last)
    with transaction.atomic():
        anchor = AuditArchive(first=start.sequence + 1, last=last, previous=start.hash, hash=end, path=str(path))
        anchor.save()
        about = {"first": anchor.first, "last": last, "hash": end, "path": str(path)}
        auditing.note(actor, AuditVerb.ARCHIVE, kind="audit", object_name=path.name, after=about)
    forget(last)
    return anchor


def forget(last: int) -> int:
    """Delete entries up to ``last``, which the triggers allow of archived ones alone; returns how many."""
    deleted = 0
    while True:
        oldest = AuditEntry.objects.order_by("pk").values_list("pk", flat=True).first()
        if oldest is None or oldest > last:
            return deleted
        with connection.cursor() as cursor:  # past the model, which refuses every deletion
            upto = min(last, oldest + BATCH - 1)
            cursor.execute("DELETE FROM webui_auditentry WHERE id <= %s", [upto])
            deleted += cursor.rowcount


def _range(before: datetime) -> tuple[Head, int]:
    """The head that the archive follows, and its last entry."""
    done = AuditArchive.objects.order_by("-last").first()
    start = Head(done.last, done.hash) if done else Head()
    if done is not None:
        forget(done.last)  # what an archiving that was killed has left
    # The last entry stays, so that the chain goes on here.
    young = AuditEntry.objects.filter(pk__gt=start.sequence, at__gte=before).order_by("pk").values_list("pk", flat=True)
    newest = AuditEntry.objects.values_list("pk", flat=True).first()
    if newest is None:
        raise ArchiveError("There is no entry.")
    last = min(young.first() or newest, newest) - 1
    if last <= start.sequence:
        msg = f"No entry is older than {chain.stamp(before)}."
        raise ArchiveError(msg)
    return start, last


def _write(path: Path, start: Head, last: int) -> str:
    """Write and verify the entries after ``start`` up to ``last``; returns the last hash, or leaves no file."""
    part, end = path.with_suffix(".part"), start
    try:
        with part.open("wb") as raw:
            os.fchmod(raw.fileno(), 0o600)
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6) as packed:
                for entry in rows(start.sequence, last - start.sequence):
                    step = next(follow([entry], end))
                    if isinstance(step, Broken):
                        msg = f"The chain is broken and is not archived: {step.text}"
                        raise ArchiveError(msg)
                    packed.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
                    end = step
            raw.flush()
            os.fsync(raw.fileno())
        if end.sequence != last:
            msg = f"The chain ends at entry {end.sequence}, before {last}: it is not archived."
            raise ArchiveError(msg)
        part.rename(path)
        _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)
    return end.hash


def _sync(folder: Path) -> None:
    """See to it that the name is on disk too."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
