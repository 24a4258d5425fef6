from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.lab import session
from dataplane.lab.paths import Paths
from dataplane.lab.session import Record
from dataplane.lab.topology import Topology

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: network namespaces")


@pytest.fixture
def prefix() -> str:
    """Of every namespace of this test run; no other run has it."""
    return f"t{os.getpid()}-"


@pytest.fixture
def topology(needs_root: None, prefix: str) -> Iterator[Topology]:
    network = Topology(prefix)
    network.up()
    try:
        yield network
    finally:
        network.down()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """As much of a checkout as the lab looks at; below a directory that only its owner may enter."""
    place = tmp_path / "a checkout"
    (place / "dataplane").mkdir(parents=True)
    (place / "dataplane" / "__init__.py").touch()
    shutil.copytree(ROOT / "dataplane" / "lab", place / "dataplane" / "lab")
    (place / "webui").mkdir()
    (place / "webui" / "settings.py").touch()
    (place / "manage.py").touch()
    (place / ".venv" / "bin").mkdir(parents=True)
    (place / ".venv" / "bin" / "python").symlink_to("/usr/bin/python3")
    tmp_path.chmod(0o700)
    return place


@pytest.fixture
def paths(checkout: Path) -> Iterator[Paths]:
    """Paths of a lab that is no other's, and nothing left of it, whatever the test did."""
    mine = Paths(checkout, Path(f"/run/halfpipe-test-{os.getpid()}"))
    try:
        yield mine
    finally:
        if mine.run.exists():
            session.remove_everything(mine, Record.load(mine.record))
            mine.lock.unlink(missing_ok=True)
            mine.run.rmdir()
