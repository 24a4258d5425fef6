from __future__ import annotations

from pathlib import Path

import pytest

from tests.monitors.kinds.servers import Authority


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that server processes of other users can enter."""
    for one in (tmp_path, *tmp_path.parents):
        if "pytest" in str(one):
            one.chmod(0o755)
    return tmp_path
