"""Where programs of USER monitors may be: the folders of HALFPIPE_MONITOR_SCRIPTS, and nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

SETTING: Final = "HALFPIPE_MONITOR_SCRIPTS"
DEFAULT: Final = Path(__file__).parents[2] / "scripts"


class RefusedError(Exception):
    """A program that is not run; the text is for the operator."""


def folders() -> list[Path]:
    """The folders in the order in which they are searched; several are separated by colons."""
    given = os.environ.get(SETTING, "")
    return [Path(one) for one in given.split(os.pathsep) if one] or [DEFAULT]


def find(name: str) -> Path:
    """The program of this name.

    It must be a regular file in one of the folders (a link must lead to a file directly in one of them, as links of
    multi-call plugins do), executable, and neither it nor its folder writable by everyone. Raises RefusedError.
    """
    if not name or "/" in name or "\0" in name or name in {".", ".."}:
        raise RefusedError(f"“{name}” is no name of a program")
    places = folders()
    for place in places:
        path = place / name
        if path.is_symlink() or path.exists():
            _check(name, path, places)
            return path
    raise RefusedError(f"there is no {name} in {', '.join(map(str, places))} ({SETTING})")


def _check(name: str, path: Path, places: list[Path]) -> None:
    try:
        real = path.resolve(strict=True)
        allowed = {place.resolve() for place in places}
        mode = real.stat().st_mode
        writable = [one for one in (real, real.parent, path.parent) if one.stat().st_mode & stat.S_IWOTH]
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        raise RefusedError(f"{name} cannot be looked at: {getattr(error, 'strerror', None) or error}") from error
    if real.parent not in allowed:
        raise RefusedError(f"{name} is a link to {real}, which is not in a folder of {SETTING}")
    if not stat.S_ISREG(mode):
        raise RefusedError(f"{name} is not a regular file")
    if writable:
        raise RefusedError(f"{name} is not run: everyone may write to {writable[0]}")
    if not mode & (stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH):
        raise RefusedError(f"{name} is not executable (chmod 755)")
