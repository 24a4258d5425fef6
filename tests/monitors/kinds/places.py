"""Folders that servers of other users can enter; those of pytest are closed anew whenever another run begins."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def public_folder() -> Iterator[Path]:
    """An empty folder with mode 0755; it goes with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="halfpipe-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
