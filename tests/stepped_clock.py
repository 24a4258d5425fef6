"""Processes whose wall clock is set while they run, and the machine's is not: see ``stepped_clock.c``.

A clock namespace of Linux has the monotonic clocks alone, and libfaketime 0.9.10 breaks ``time.sleep`` of Python 3.11,
which waits until a moment of the monotonic clock.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class SteppedClock:
    """The wall clock of the processes that are started with :meth:`environment`; it begins with the machine's time."""

    def __init__(self, folder: Path) -> None:
        if shutil.which("clang") is None:
            pytest.skip("clang is not installed (`make test` installs it)")
        self._library, self._offset = folder / "stepped_clock.so", folder / "offset"
        flags = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
        subprocess.run(["clang", *flags, str(SOURCE), "-o", str(self._library)], check=True, timeout=60)
        self.set(0)

    def set(self, seconds: int) -> None:
        """From now on the clock says so much more than the machine's; negative: less."""
        # Written in place: the processes have the file in their memory.
        file = os.open(self._offset, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.write(file, (seconds * 10**9).to_bytes(8, sys.byteorder, signed=True))
        finally:
            os.close(file)

    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to go by this clock."""
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK": str(self._offset)}
