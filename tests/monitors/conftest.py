from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Path:
    """An SQLite file with all tables and no rows."""
    path = tmp_path_factory.mktemp("database") / "empty.sqlite3"
    with django_db_blocker.unblock(), _other_database(path):
        call_command("migrate", verbosity=0)
        with connections["default"].cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


@pytest.fixture
def file_database(migrated_file: Path, tmp_path: Path, django_db_blocker: Any) -> Iterator[Path]:
    """A database that every thread opens by itself, as processes do; the usual test database is one in memory."""
    path = tmp_path / "db.sqlite3"
    shutil.copy(migrated_file, path)
    with django_db_blocker.unblock(), _other_database(path):
        yield path


@contextmanager
def _other_database(path: Path) -> Iterator[None]:
    """Connections of this thread and of new threads go to ``path``."""
    before, settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = {**before.settings_dict, "NAME": str(path)}
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = settings
        connections["default"] = before
