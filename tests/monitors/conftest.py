from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connections


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory, django_db_blocker: Any) -> Iterator[str]:
    """Name of a database with all tables and no rows: an SQLite file, or what PostgreSQL makes copies of."""
    name = str(tmp_path_factory.mktemp("database") / "empty.sqlite3") if _is_file() else f"empty_{os.getpid()}"
    with django_db_blocker.unblock(), _made(name):
        with _other_database(name):
            call_command("migrate", verbosity=0)
            if _is_file():
                with connections["default"].cursor() as cursor:
                    cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        yield name


@pytest.fixture
def own_database(migrated_database: str, tmp_path: Path, django_db_blocker: Any) -> Iterator[str]:
    """A database that every thread opens by itself, as processes do, by its address; others share the usual one."""
    name = str(tmp_path / "db.sqlite3") if _is_file() else f"own_{os.getpid()}"
    with django_db_blocker.unblock(), _made(name, migrated_database), _other_database(name):
        yield f"sqlite:///{name}" if _is_file() else f"{os.environ['HALFPIPE_DATABASE_URL'].rpartition('/')[0]}/{name}"


def _is_file() -> bool:
    return connections["default"].vendor == "sqlite"


@contextmanager
def _made(name: str, template: str = "template1") -> Iterator[None]:
    """The database exists during the block; files stay, as pytest removes them."""
    if _is_file():
        if template != "template1":
            shutil.copy(template, name)
        yield
        return
    with _other_database("postgres"):
        cursor = connections["default"].cursor()
        cursor.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield
    finally:
        with _other_database("postgres"):
            connections["default"].cursor().execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def _other_database(name: str) -> Iterator[None]:
    """Connections of this thread and of new threads go to this one."""
    before, settings = connections["default"], connections.settings["default"]
    connections.settings["default"] = {**before.settings_dict, "NAME": name}
    connections["default"] = connections.create_connection("default")
    try:
        yield
    finally:
        connections["default"].close()
        connections.settings["default"] = settings
        connections["default"] = before
