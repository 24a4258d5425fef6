"""Entries of applied revisions are written once, whenever the worker is killed and whatever the database does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection, transaction

from dataplane import applied as module
from dataplane.applied import Applied
from tests.dataplane.noting import DIRECTOR, round_of
from tests.monitors.conftest import migrated_database, own_database  # noqa: F401 - fixtures
from webui import auditing
from webui.actions.base import Actor
from webui.audit.verify import verify
from webui.models import AuditEntry, DataplaneStatus

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@contextmanager
def process(address: str, folder: Path, *commands: str) -> Iterator[subprocess.Popen[str]]:
    """One that is killed with SIGKILL at the end of the block, if it has not been."""
    own = {
        "HALFPIPE_DATABASE_URL": address,
        "HALFPIPE_SECRET_KEY_FILE": str(folder.parent / "secret-key"),
        "HALFPIPE_LOG_LEVEL": "ERROR",
    }
    command = [sys.executable, "-m", "tests.dataplane.noting", str(folder), *commands]
    started = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | own, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate(timeout=30)


def run_and_kill(address: str, folder: Path, *commands: str) -> None:
    with process(address, folder, *commands) as started:
        assert started.stdout is not None
        for line in started.stdout:
            if line == "waits\n":
                return
    pytest.fail("the process ended by itself")


def restarted(folder: Path) -> Applied:
    again = Applied(DIRECTOR, folder)
    again.begin()
    again.write()
    again.close()
    return again


def entries() -> list[tuple[int, object, object]]:
    """Revision, milliseconds and writes of each, in their order."""
    found = AuditEntry.objects.filter(verb="apply", object_name=DIRECTOR).order_by("pk")
    return [
        (row.revision, row.after["milliseconds"], row.after["map writes"])
        for row in found
        if row.revision is not None and row.after is not None
    ]


def test_what_was_noted_and_not_written_is_written_by_the_next_process(
    own_database: str,  # noqa: F811 - a fixture
    folder: Path,
) -> None:
    cause = auditing.note(Actor.system("somebody"), "update", kind="server", revision=8, correlation="0123456789abcdef")
    run_and_kill(own_database, folder, "note 7", "note 8")
    assert entries() == []
    later = time.time()
    assert restarted(folder).last == 8
    assert entries() == [(7, 7.0, 7), (8, 8.0, 8)]
    seven, eight = AuditEntry.objects.filter(verb="apply").order_by("pk")
    assert (seven.correlation, eight.correlation) == ("", cause.correlation)
    assert seven.at < eight.at
    assert eight.at.timestamp() < later  # when it was applied, not when it was written
    assert verify().broken is None


def test_what_was_committed_and_not_yet_removed_is_not_written_twice(
    own_database: str,  # noqa: F811 - a fixture
    folder: Path,
) -> None:
    run_and_kill(own_database, folder, "note 7", "write", "note 8", "note 9", "commit")
    assert entries() == [(7, 7.0, 7), (8, 8.0, 8), (9, 9.0, 9)]
    (file,) = folder.iterdir()
    assert file.read_bytes().count(b"\n") == 2
    assert restarted(folder).last == 9
    assert [revision for revision, *_figures in entries()] == [7, 8, 9]
    assert file.read_bytes() == b""


def test_killed_while_the_database_is_locked_it_loses_nothing(
    own_database: str,  # noqa: F811 - a fixture
    folder: Path,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("locks as SQLite has them")
    with process(own_database, folder, "note 1", "write", "listen", "note 2", "write") as started:
        assert started.stdin is not None
        assert started.stdout is not None
        assert [started.stdout.readline() for _command in range(2)] == ["note 1\n", "write\n"]
        with transaction.atomic():  # the one writer that SQLite knows
            started.stdin.write("go on\n")
            started.stdin.flush()
            assert [started.stdout.readline() for _command in range(2)] == ["listen\n", "note 2\n"]
            started.kill()
            started.wait(30)
    assert entries() == [(1, 1.0, 1)]
    restarted(folder)
    assert entries() == [(1, 1.0, 1), (2, 2.0, 2)]


def test_killed_at_any_moment_each_revision_has_one_entry(
    own_database: str,  # noqa: F811 - a fixture
    folder: Path,
) -> None:
    chance, told = random.Random(1), 0
    for _round in range(6):
        with process(own_database, folder, f"forever {told + 1}") as started:
            assert started.stdout is not None
            lines = [started.stdout.readline()]
            time.sleep(chance.uniform(0, 0.3))
            started.kill()
            lines += list(started.stdout)
        noted = restarted(folder).last or 0
        # It may have noted one more than it told.
        assert noted - int(lines[-1]) in {0, 1}
        told = noted
        assert [revision for revision, *_figures in entries()] == list(range(1, told + 1))
    assert told > 6
    assert verify().broken is None


@pytest.mark.django_db
def test_without_a_place_for_the_file_it_says_so_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("no folder")
    noted = Applied(DIRECTOR, tmp_path / "file" / "state")
    noted.begin()
    for revision in (1, 2):
        noted.take(round_of(revision))
        noted.write()
    assert entries() == [(1, 1.0, 1), (2, 2.0, 2)]
    assert caplog.text.count("cannot be used") == 1
    assert "HALFPIPE_STATE_DIR" in caplog.text


@pytest.mark.django_db
def test_what_the_audit_has_and_the_status_row_has_not_is_not_written_twice(folder: Path) -> None:
    DataplaneStatus.objects.create(director=DIRECTOR, applied_revision=4)
    noted = Applied(DIRECTOR, folder)
    noted.begin()
    noted.take(round_of(5))
    noted.write()
    noted.close()  # and the status row could not be written
    again = Applied(DIRECTOR, folder)
    again.begin()
    again.take(round_of(5))
    again.write()
    assert entries() == [(5, 5.0, 5)]


@pytest.mark.django_db
def test_a_file_that_another_process_has_is_taken_over_when_that_one_ends(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    former, latter = Applied(DIRECTOR, folder), Applied(DIRECTOR, folder)
    for one in (former, latter):
        one.begin()
    assert "another process has it" in caplog.text
    former.take(round_of(1))
    former.close()
    latter.take(round_of(2))
    latter.write()
    assert entries() == [(1, 1.0, 1), (2, 2.0, 2)]


@pytest.mark.django_db
def test_a_file_that_is_removed_is_made_again(folder: Path) -> None:
    noted = Applied(DIRECTOR, folder)
    noted.begin()
    noted.take(round_of(1))
    next(folder.iterdir()).unlink()
    noted.take(round_of(2))  # fails
    noted.take(round_of(3))
    assert next(folder.iterdir()).read_bytes().count(b"\n") == 3
    noted.close()
    restarted(folder)
    assert [revision for revision, *_figures in entries()] == [1, 2, 3]


@pytest.mark.django_db
def test_when_the_file_is_full_later_revisions_become_one_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    noted = Applied(DIRECTOR, folder)
    noted.begin()
    for revision in range(1, 7):
        noted.take(round_of(revision))
    assert next(folder.iterdir()).read_bytes().count(b"\n") == 3
    noted.write()
    assert entries() == [(1, 1.0, 1), (2, 2.0, 2), (3, 3.0, 3), (6, 15.0, 15)]
    assert AuditEntry.objects.get(revision=6).before == {"revision": 3}
    noted.take(round_of(7))
    assert next(folder.iterdir()).read_bytes().count(b"\n") == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "line",
    [
        "{}",
        '{"at":"2026-01-31T14:00:00+00:00","before":1,"revision":2,"milliseconds":"1","writes":1}',
        '{"at":"2026-01-31T14:00:00","before":1,"revision":2,"milliseconds":1.5,"writes":1}',
        '{"at":"2026-01-31T14:00:00+00:00","before":1,"revision":99999999999999999999,"milliseconds":1.5,"writes":1}',
        '{"at":"2026-01-31T14:00:00+00:00","before":1,"revision":2,"milliseconds":NaN,"writes":1}',
        '{"at":5,"before":1,"revision":2,"milliseconds":1.5,"writes":1}',
    ],
)
def test_a_line_that_the_database_would_not_take_holds_up_nothing(
    folder: Path, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    DataplaneStatus.objects.create(director=DIRECTOR, applied_revision=4)
    folder.mkdir()
    (folder / f"applied-{DIRECTOR}.jsonl").write_text(f"{line}\n")
    noted = Applied(DIRECTOR, folder)
    noted.begin()
    assert "no note of an applied revision" in caplog.text
    assert noted.last == 4
    noted.take(round_of(5))
    noted.write()
    assert entries() == [(5, 5.0, 5)]
