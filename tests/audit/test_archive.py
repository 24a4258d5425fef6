"""Archives: old entries leave the database for files that still verify."""

from __future__ import annotations

import gzip
import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, transaction
from django.utils import timezone

from tests.audit.samples import entries, sql, without_triggers
from tests.factories import SYSTEM
from webui.audit import archive
from webui.audit.verify import verify
from webui.models import AuditArchive, AuditEntry, AuditHead

pytestmark = pytest.mark.django_db


def archived(folder: Path) -> AuditArchive:
    """All but the last of the entries."""
    return archive.archive(SYSTEM, timezone.now() + timedelta(seconds=1), folder)


def test_archived_entries_are_in_the_file_and_gone_from_the_database(tmp_path: Path) -> None:
    made = entries(6)
    anchor = archived(tmp_path / "new" / "folder")
    assert (anchor.first, anchor.last, anchor.hash) == (1, 5, made[4].hash)
    lines = gzip.decompress(Path(anchor.path).read_bytes()).decode().splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == [1, 2, 3, 4, 5]
    assert [*AuditEntry.objects.order_by("pk").values_list("pk", "verb")] == [(6, "update"), (7, "archive")]
    assert (AuditEntry.objects.get(pk=7).after or {})["hash"] == anchor.hash
    assert Path(anchor.path).stat().st_mode & 0o077 == 0
    verdict = verify()
    assert (verdict.broken, verdict.entries, verdict.archived) == (None, 7, 5)


def test_archives_follow_each_other(tmp_path: Path) -> None:
    for _ in range(3):
        entries(4)
        archived(tmp_path)
    assert [(row.first, row.last) for row in AuditArchive.objects.all()] == [(1, 3), (4, 8), (9, 13)]
    verdict = verify()
    assert (verdict.broken, verdict.entries, verdict.archived) == (None, 15, 13)
    (tmp_path / "audit-000000000004-000000000008.jsonl.gz").unlink()
    broken = verify().broken
    assert broken is not None
    assert broken.sequence == 4
    assert "entries 4 to 8 is missing" in broken.text


def test_archives_that_were_moved_are_found_in_their_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries(4)
    call_command("audit", "archive", "--before", "2999-01-01", "--to", str(tmp_path / "a"))
    shutil.move(tmp_path / "a", tmp_path / "b")
    with pytest.raises(CommandError, match="is missing"):
        call_command("audit", "verify")
    call_command("audit", "verify", "--archives", str(tmp_path / "b"))
    assert "5 entries verified, 3 of them in archives" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["altered", "removed", "cut", "swapped", "garbage", "truncated file"])
def test_a_tampered_archive_is_found(damage: str, tmp_path: Path) -> None:
    entries(8)
    path = Path(archived(tmp_path).path)
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    if damage == "altered":
        lines[3] = lines[3].replace(b"rack 4", b"rack 9")
    elif damage == "removed":
        del lines[3]
    elif damage == "cut":
        del lines[3:]
    elif damage == "swapped":
        lines[3], lines[4] = lines[4], lines[3]
    elif damage == "garbage":
        lines[3] = b"[]\n"
    packed = gzip.compress(b"".join(lines))
    path.write_bytes(packed[:-20] if damage == "truncated file" else packed)
    broken = verify().broken
    assert broken is not None
    assert broken.sequence == (4 if damage != "truncated file" else broken.sequence)


def test_only_what_is_archived_can_be_deleted(tmp_path: Path) -> None:
    entries(5)
    archived(tmp_path)
    entries(2)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        sql("DELETE FROM webui_auditentry WHERE id = 6")
    for statement in ("UPDATE webui_auditarchive SET last = 7", "DELETE FROM webui_auditarchive"):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
            sql(statement)
    assert verify().broken is None


def test_a_made_up_anchor_is_found(tmp_path: Path) -> None:
    made = entries(5)
    AuditArchive(first=1, last=3, previous=made[0].previous, hash=made[2].hash, path=str(tmp_path / "none")).save()
    sql("DELETE FROM webui_auditentry WHERE id <= 3")  # which the triggers now allow
    broken = verify().broken
    assert broken is not None
    assert (broken.sequence, "missing" in broken.text) == (1, True)


def test_a_broken_chain_is_not_archived(tmp_path: Path) -> None:
    entries(5)
    with without_triggers():
        sql("UPDATE webui_auditentry SET reason = 'x' WHERE id = 3")
    with pytest.raises(archive.ArchiveError, match="entry 3 was altered"):
        archived(tmp_path)
    assert (AuditEntry.objects.count(), [*tmp_path.iterdir()]) == (5, [])


def test_what_a_killed_archiving_left_is_removed_by_the_next_and_harms_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries(5)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "forget", lambda _last: 0)
        archived(tmp_path)
    assert AuditEntry.objects.count() == 6
    assert verify().broken is None
    entries(1)
    archived(tmp_path)
    assert AuditEntry.objects.order_by("pk").values_list("pk", flat=True).first() == 7
    assert verify().broken is None


def test_an_entry_put_back_in_place_of_an_archived_one_is_found(tmp_path: Path) -> None:
    entries(5)
    archived(tmp_path)
    copied = "at, actor_name, interface, verb, outcome, kind, object_name, reason, command, correlation, previous, hash"
    sql(f"INSERT INTO webui_auditentry (id, {copied}) SELECT 2, {copied} FROM webui_auditentry WHERE id = 5")  # noqa: S608 - constants
    broken = verify().broken
    assert broken is not None
    assert broken.sequence == 2


def test_nothing_to_archive_is_told_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no entry"):
        call_command("audit", "archive", "--before", "2999-01-01", "--to", str(tmp_path))
    entries(3)
    for date, words in (("2001-01-01", "No entry is older"), ("yesterday", "--before yesterday: this is no date")):
        with pytest.raises(CommandError, match=words):
            call_command("audit", "archive", "--before", date, "--to", str(tmp_path))
    assert AuditHead.objects.get().sequence == 3
    assert [*tmp_path.iterdir()] == []
