"""The file that keeps records until the database has them: what it survives, and what it says."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from dataplane.spool import Spool


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "applied-director.jsonl"


def opened(path: Path) -> Spool:
    spool = Spool(path)
    spool.open()
    return spool


def test_records_outlive_the_process_in_files_for_their_owner_alone(path: Path) -> None:
    spool = opened(path)
    for number in (1, 2):
        spool.append({"revision": number})
    spool.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    again = Spool(path)
    assert again.open() == [{"revision": 1}, {"revision": 2}]
    again.clear()
    again.append({"revision": 3})
    again.close()
    assert Spool(path).open() == [{"revision": 3}]


def test_a_line_that_was_never_finished_is_cut_off_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = opened(path)
    spool.append({"revision": 1})
    spool.close()
    with path.open("ab") as file:
        file.write(b'{"revision":')
    again = Spool(path)
    assert again.open() == [{"revision": 1}]
    assert "cut off an unfinished line" in caplog.text
    again.append({"revision": 2})
    again.close()
    assert Spool(path).open() == [{"revision": 1}, {"revision": 2}]


def test_a_line_that_is_no_record_is_left_out_and_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.parent.mkdir()
    path.write_bytes(b'[1]\n\xff\n{"revision":7}\n')
    assert Spool(path).open() == [{"revision": 7}]
    assert caplog.text.count("left out a line that is no record") == 2


def test_one_has_the_file_at_a_time(path: Path) -> None:
    first, second = opened(path), Spool(path)
    with pytest.raises(BlockingIOError):
        second.open()
    assert not second.is_open
    first.close()
    assert second.open() == []


def test_a_full_disk_leaves_no_part_of_a_record(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = opened(path)
    spool.append({"revision": 1})
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, line: write(file, line[:5]))
        with pytest.raises(OSError, match="No space left"):
            spool.append({"revision": 2})
    assert path.read_bytes() == b'{"revision":1}\n'


def test_a_record_that_did_not_reach_the_disk_is_taken_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_file: int) -> Any:
        raise OSError(errno.EIO, "Input/output error")

    spool = opened(path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", broken)
        with pytest.raises(OSError, match="Input/output error"):
            spool.append({"revision": 1})
    assert path.read_bytes() == b""


def test_a_file_that_somebody_removed_is_noticed(path: Path) -> None:
    spool = opened(path)
    path.unlink()
    with pytest.raises(OSError, match="somebody removed the file"):
        spool.append({"revision": 1})


def test_no_link_is_followed(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    (tmp_path / "elsewhere").write_text("precious")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match=r"Too many levels|symbolic"):
        Spool(path).open()
    assert (tmp_path / "elsewhere").read_text() == "precious"
