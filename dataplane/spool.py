"""A file that keeps records until the database has taken them, whatever happens to the process.

One JSON object a line, appended and flushed to the disk before :meth:`Spool.append` returns. The file is emptied by
one ftruncate(2) after the database has committed, so whoever is killed in between leaves records that were taken
already: the reader has to tell those by their contents. flock(2) lets one process at a time have the file; the kernel
lets go of the lock when that process ends, however it does.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


class Spool:
    """Records in the file ``path``, of mode 0600 in a directory of mode 0700, both made when they are needed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: int | None = None

    @property
    def is_open(self) -> bool:
        """Whether this process has the file."""
        return self._file is not None

    def open(self) -> list[dict[str, Any]]:
        """Take the file and return what it holds, oldest first.

        The end of a line that was never finished is cut off, and a line that is no JSON object is left out; the log
        tells both. Raises OSError, of which BlockingIOError says that another process has the file.
        """
        self.close()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        file = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.fchmod(file, 0o600)
            _flush_directory(self.path.parent)
            records = self._read(file)
        except OSError:
            os.close(file)
            raise
        self._file = file
        return records

    def append(self, record: Mapping[str, Any]) -> None:
        """Add a record; when this returns it is on the disk. Raises OSError, and then it is not in the file."""
        file = self._open_file()
        line = json.dumps(record, separators=(",", ":")).encode() + b"\n"
        before = os.fstat(file)
        if not before.st_nlink:
            raise OSError(errno.ESTALE, "somebody removed the file", str(self.path))
        try:
            if os.write(file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fdatasync(file)
        except OSError:
            os.ftruncate(file, before.st_size)
            raise

    def clear(self) -> None:
        """Forget all records. Raises OSError."""
        # Not flushed: should the machine lose power now, the records are there again, and are told by their contents.
        os.ftruncate(self._open_file(), 0)

    def close(self) -> None:
        """Let go of the file, if this process has it; the records stay in it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def _open_file(self) -> int:
        if self._file is None:
            raise OSError(errno.EBADF, "the file is not open", str(self.path))
        return self._file

    def _read(self, file: int) -> list[dict[str, Any]]:
        with os.fdopen(os.dup(file), "rb") as reader:
            reader.seek(0)
            text = reader.read()
        whole = text.rfind(b"\n") + 1
        if whole < len(text):
            log.warning("%s: cut off an unfinished line: %r", self.path, text[whole : whole + 200])
            os.ftruncate(file, whole)
        return [record for line in text[:whole].splitlines() if (record := self._parsed(line)) is not None]

    def _parsed(self, line: bytes) -> dict[str, Any] | None:
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            log.error("%s: left out a line that is no record: %r", self.path, line[:200])
            return None
        return record


def _flush_directory(path: Path) -> None:
    """Make the name of a new file last (fsync(2): that of the file alone does not)."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
