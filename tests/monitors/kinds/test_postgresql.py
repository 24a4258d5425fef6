"""POSTGRESQL against PostgreSQL, and against servers that misbehave."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from monitors.registry import KINDS
from monitors.spec import ProbeResult
from tests.monitors.kinds.places import public_folder
from tests.monitors.kinds.servers import (
    HERE,
    Authority,
    Place,
    by_hand,
    drip,
    failed,
    flood,
    hang_up,
    passed,
    probe,
    process,
    silent,
    spec,
    trace,
)
from tests.monitors.kinds.tracing import steps, texts
from tests.ports import free_port

ROLE, PASSWORD = "half pipe", "s3cret' \\päss"
SQL = """
CREATE ROLE "half pipe" LOGIN PASSWORD 's3cret'' \\päss';
CREATE DATABASE shop;
"""
TABLES = """
CREATE TABLE items (name text, number int);
INSERT INTO items VALUES ('kettle', 3), ('lamp', NULL);
GRANT SELECT ON items TO "half pipe";
"""


@pytest.fixture(scope="module")
def postgresql(authority: Authority) -> Iterator[int]:
    with public_folder() as folder, postgresql_in(folder, authority) as port:
        yield port


@contextmanager
def postgresql_in(folder: Path, authority: Authority, at: Place = HERE) -> Iterator[int]:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not versions:
        pytest.skip("postgresql is not installed (`make test` installs it)")
    programs = versions[-1].parent
    port = free_port()
    crt, key = authority.issue("postgres.example", end=timedelta(days=90))
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    data = folder / "data"
    data.mkdir(mode=0o700)
    for source, name in ((crt, "server.crt"), (key, "server.key")):
        shutil.copy(source, folder / name)
        (folder / name).chmod(0o600)
    if user:
        for path in (data, folder / "server.crt", folder / "server.key"):
            shutil.chown(path, user)
    as_user = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}

    def run(*command: str | Path, text: str = "") -> None:
        done = subprocess.run(
            [*as_user, *command],
            input=text.encode(),
            capture_output=True,
            timeout=60,
            check=False,
            env=environment,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr.decode()

    run(programs / "initdb", "-D", data, "-U", "admin", "-E", "UTF8", "--no-sync", "-A", "trust")
    (data / "pg_hba.conf").write_text(f"host all admin {at.clients}/32 trust\nhost all all all scram-sha-256\n")
    single: list[str | Path] = [programs / "postgres", "--single", "-j", "-D", data]
    for database, sql in (("postgres", SQL), ("shop", TABLES)):
        run(*single, database, text=sql.replace(";\n", ";\n\n"))
    options = f"listen_addresses={at.address},{at.address6} port={port} unix_socket_directories= fsync=off ssl=on"
    options += f" ssl_cert_file={folder}/server.crt ssl_key_file={folder}/server.key"
    options += " max_connections=20 shared_buffers=8MB"
    flags = [flag for option in options.split() for flag in ("-c", option)]
    with process([*as_user, str(programs / "postgres"), "-D", str(data), *flags], port, at=at):
        _wait_until_ready(data / "postmaster.pid")
        yield port


def _wait_until_ready(state: Path) -> None:
    """It listens before it takes anybody: the last line of this file tells when it does (pidfile.h)."""
    deadline = time.monotonic() + 60
    while state.read_text().splitlines()[7:8] != ["ready   "]:
        assert time.monotonic() < deadline, state.read_text()
        time.sleep(0.02)


def ask(port: int, timeout: float = 3, **given: Any) -> ProbeResult:
    everything = {"user_name": ROLE, "password": PASSWORD, "database": "shop", **given}
    result = probe("POSTGRESQL", port, timeout, **everything)
    assert PASSWORD not in repr(result)
    return result


def test_a_login_and_a_query_pass(postgresql: int) -> None:
    words = passed(ask(postgresql))
    assert words.startswith("PostgreSQL ")
    assert words.endswith(", 1 row: 1")
    words = passed(ask(postgresql, sql_query="SELECT * FROM items ORDER BY name"))
    assert words.endswith(", 2 rows: kettle, 3")
    assert passed(ask(postgresql, sql_query="SELECT 1 WHERE false")).endswith("query succeeded, no rows")
    assert passed(ask(postgresql, sql_query="SET timezone = 'UTC'")).endswith("query succeeded (SET)")


def test_the_trace_tells_what_the_library_does(postgresql: int) -> None:
    given: dict[str, Any] = {"user_name": ROLE, "database": "shop", "sql_query": "SELECT name FROM items"}
    found = trace("POSTGRESQL", postgresql, secure=True, password=PASSWORD, **given)
    assert texts(found, "login").endswith(", through TLS")
    assert texts(found, "query") == "SELECT name FROM items"
    assert texts(found, "answer") == "TUPLES_OK, 2 rows: kettle"
    assert "libpq" in steps(found)
    wrong = trace("POSTGRESQL", postgresql, password="another", **given)
    assert "login" not in steps(wrong)


def test_tls_is_used_when_wanted(postgresql: int) -> None:
    sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert passed(ask(postgresql, secure=True, sql_query=sql)).endswith("1 row: t")
    assert passed(ask(postgresql, sql_query=sql)).endswith("1 row: f")


def test_the_environment_adds_nothing(postgresql: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PGUSER", "admin"), ("PGPASSWORD", PASSWORD), ("PGSSLMODE", "require"), ("PGPORT", "1")):
        monkeypatch.setenv(name, value)
    assert passed(ask(postgresql))
    assert failed(ask(postgresql, password="")) == "login: fe_sendauth: no password supplied"


def test_wrong_logins_and_queries_are_told(postgresql: int) -> None:
    words = failed(ask(postgresql, password=PASSWORD + "-wrong"))
    assert words == f'login: FATAL:  password authentication failed for user "{ROLE}"'
    assert failed(ask(postgresql, database="gone")) == 'login: FATAL:  database "gone" does not exist'
    words = failed(ask(postgresql, sql_query="SELECT * FROM nothing"))
    assert words == 'logged in, query failed: relation "nothing" does not exist (42P01)'
    words = failed(ask(postgresql, sql_query="SELECT 1; SELECT 1/0"))
    assert words == "logged in, query failed: division by zero (22012)"
    assert failed(ask(postgresql, sql_query="COPY items TO STDOUT")) == "logged in, but COPY is no query for a check"


def test_a_slow_query_fails_when_the_time_is_over(postgresql: int) -> None:
    start = perf_counter()
    words = failed(ask(postgresql, 0.5, sql_query="SELECT pg_sleep(5)"))
    assert words == "connected, logged in, no answer to the query within 0.5 s"
    assert perf_counter() - start < 4


@pytest.mark.parametrize("sql", ["SELECT repeat('x', 100000000)", "SELECT generate_series(1, 100000000)"])
def test_an_answer_without_end_fails(postgresql: int, sql: str) -> None:
    assert failed(ask(postgresql, 10, sql_query=sql)) == "more than 262144 bytes of answer"


def test_a_refused_connection_fails_at_once() -> None:
    result = ask(free_port(), 5)
    assert failed(result) == "connection refused"
    assert result.duration < 4


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("handler", [silent, drip, flood, hang_up])
def test_misbehaving_servers_fail_in_time(handler: Callable[[socket.socket], None], secure: bool) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        words = failed(ask(port, 0.4, secure=secure))
        assert perf_counter() - start < 4
    if handler is silent:
        assert words == "connected, no answer to the login within 0.4 s"


def test_a_server_without_tls_fails_a_secure_check() -> None:
    def no(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(b"N")
        silent(connection)

    with by_hand(no) as port:
        words = failed(ask(port, secure=True))
    assert words == "login: server does not support SSL, but SSL was required"


@given_by(data=st.binary(max_size=60))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_the_client_raise_anything_else(data: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(b"R" + len(data).to_bytes(4, "big") + data)
        connection.shutdown(socket.SHUT_WR)

    with by_hand(handle) as port:
        result = ask(port, 1)
    assert failed(result).isprintable()


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(spec("POSTGRESQL", 5432, user_name=ROLE, password=PASSWORD))
    assert "s3cret" not in repr(spec("POSTGRESQL", 5432, user_name=ROLE, password=PASSWORD))


def test_wrong_parameters_are_refused() -> None:
    assert KINDS["POSTGRESQL"].clean({"sql_query": ""})[1].keys() == {"user_name", "sql_query"}
