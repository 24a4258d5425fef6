"""Take from ``requirements.lock`` what the product needs at run time, hashes included: ``runtime_lock.py LOCK``.

The lock also holds the tools of development. Of each package it says by whom it is wanted ("via"), as uv writes it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = "halfpipe (pyproject.toml)"
_START = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)


def runtime_part(lock: str) -> str:
    """The entries that the project itself, or something of it, wants at run time.

    Raises ValueError for a lock without any.
    """
    starts = [*_START.finditer(lock)]
    ends = [*(start.start() for start in starts[1:]), len(lock)]
    entries = {start[1]: lock[start.start() : end] for start, end in zip(starts, ends, strict=True)}
    wanted_by = {name: _via(entry) for name, entry in entries.items()}
    chosen: set[str] = set()
    found = {ROOT}
    while found:
        found = {name for name in entries if name not in chosen and not wanted_by[name].isdisjoint(found)}
        chosen |= found
    if not chosen:
        msg = f"No entry of the lock is wanted by {ROOT}: was it written by `make lock`?"
        raise ValueError(msg)
    return "".join(entry for name, entry in entries.items() if name in chosen)


def _via(entry: str) -> set[str]:
    comments = [line.strip().removeprefix("#").strip() for line in entry.splitlines() if line.strip().startswith("#")]
    return {comment.removeprefix("via").strip() for comment in comments}


if __name__ == "__main__":
    sys.stdout.write(runtime_part(Path(sys.argv[1]).read_text()))
