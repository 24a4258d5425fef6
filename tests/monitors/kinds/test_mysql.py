"""MYSQL against MariaDB, and against servers that misbehave."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as given_by
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

USER, PASSWORD = "halfpipe", "s3cret-päss"
SQL = f"""
CREATE DATABASE shop;
CREATE TABLE shop.items (name VARCHAR(20), number INT);
INSERT INTO shop.items VALUES ('kettle', 3), ('lamp', NULL);
CREATE USER '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';
CREATE USER 'open'@'%';
GRANT SELECT ON shop.* TO '{USER}'@'%';
"""  # noqa: S608 - our own words


@pytest.fixture(scope="module")
def mariadb(authority: Authority) -> Iterator[int]:
    with public_folder() as folder, mariadb_in(folder, authority) as port:
        yield port


@contextmanager
def mariadb_in(folder: Path, authority: Authority, at: Place = HERE) -> Iterator[int]:
    install = shutil.which("mariadb-install-db")
    if install is None:
        pytest.skip("mariadb-server is not installed (`make test` installs it)")
    port = free_port()
    data = folder / "data"
    crt, key = authority.issue("mysql.example", end=timedelta(days=90))
    for path in (crt, key):  # files of the session's authority, whose folder others cannot enter
        shutil.copy(path, folder)
    owner = ["--user=mysql"]
    common = ["--no-defaults", f"--datadir={data}", f"--tmpdir={data}", *owner]
    data.mkdir()
    shutil.chown(data, "mysql")
    for path in (folder / crt.name, folder / key.name):
        shutil.chown(path, "mysql")
    small = ["--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"]
    installed = subprocess.run(
        [install, *common, "--skip-test-db", "--auth-root-authentication-method=normal"],
        check=False,
        capture_output=True,
        timeout=120,
    )
    assert installed.returncode == 0, (installed.stdout + installed.stderr).decode()
    (folder / "init.sql").write_text(SQL.strip())
    command = ["/usr/sbin/mariadbd", *common, *small, f"--port={port}", f"--bind-address={at.address},{at.address6}"]
    files = [f"--socket={data}/socket", f"--pid-file={data}/pid", f"--init-file={folder}/init.sql"]
    tls = [f"--ssl-cert={folder / crt.name}", f"--ssl-key={folder / key.name}"]
    with process([*command, *files, *tls, "--character-set-server=utf8mb4"], port, at=at):
        yield port


def ask(port: int, timeout: float = 3, **given: Any) -> ProbeResult:
    result = probe("MYSQL", port, timeout, **{"user_name": USER, "password": PASSWORD, **given})
    assert PASSWORD not in repr(result)
    return result


def test_a_login_and_a_query_pass(mariadb: int) -> None:
    words = passed(ask(mariadb))
    assert "MariaDB" in words
    assert words.endswith(", 1 row: 1")
    assert passed(ask(mariadb, user_name="open", password=""))


def test_a_query_of_a_database_passes(mariadb: int) -> None:
    words = passed(ask(mariadb, database="shop", sql_query="SELECT * FROM items ORDER BY name"))
    assert words.endswith(", 2 rows: kettle, 3")
    assert passed(ask(mariadb, database="shop", sql_query="SELECT * FROM items WHERE number = 9")).endswith("no rows")
    assert passed(ask(mariadb, sql_query="SET @a = 1")).endswith("query succeeded, no rows")


def test_a_rule_decides_about_the_answer(mariadb: int) -> None:
    def judge(rule: str) -> ProbeResult:
        given: dict[str, Any] = {"user_name": USER, "password": PASSWORD, "database": "shop", "eval_rule": rule}
        return probe("MYSQL-ECV", mariadb, 3, sql_query="SELECT * FROM items ORDER BY name", **given)

    words = passed(judge('MYSQL.RES.ROW(0).TEXT_ELEM(0).EQ("kettle") && MYSQL.RES.ROW(0).NUM_ELEM(1).GE(3)'))
    assert words.endswith(", the rule is true of 2 rows: kettle, 3")
    assert passed(judge("MYSQL.RES.ROW(1).IS_NULL_ELEM(1)"))
    words = failed(judge("MYSQL.RES.ATLEAST_ROWS_COUNT(3)"))
    assert words == "the rule is not true of the answer: 2 rows: kettle, 3"
    words = failed(judge('MYSQL.RES.ROW(7).TEXT_ELEM(0).EQ("a")'))
    assert words == "the rule cannot be applied, there is no row 7 (the first is 0): 2 rows: kettle, 3"


@pytest.mark.parametrize("secure", [False, True])
def test_the_trace_shows_the_query_and_nothing_of_the_login(mariadb: int, secure: bool) -> None:
    given: dict[str, Any] = {"user_name": USER, "password": PASSWORD, "database": "shop"}
    found = trace("MYSQL", mariadb, secure=secure, sql_query="SELECT name FROM items", **given)
    assert ("TLS" in steps(found)) is secure
    before, after = steps(found).index("login"), texts(found, "query")
    assert {step.text for step in found.steps[:before] if step.what in {"sent", "received"}} == {
        "message of the login (not shown)"
    }
    assert after == "SELECT name FROM items"
    assert "kettle" in texts(found, "received")


def test_tls_is_used_when_wanted_and_never_given_up(mariadb: int) -> None:
    words = passed(ask(mariadb, secure=True, sql_query="SHOW STATUS LIKE 'Ssl_version'"))
    assert "TLSv1" in words
    assert passed(ask(mariadb, sql_query="SHOW STATUS LIKE 'Ssl_version'")).endswith("Ssl_version,")


def test_wrong_logins_and_queries_are_told(mariadb: int) -> None:
    words = failed(ask(mariadb, password=PASSWORD + "-☂"))
    assert words.startswith(f"login: Access denied for user '{USER}'@'")
    assert words.endswith("(1045)")
    words = failed(ask(mariadb, database="mysql"))
    assert words.startswith("login: Access denied for user ")
    words = failed(ask(mariadb, sql_query="SELECT * FROM shop.nothing"))
    assert words == "logged in, query failed: Table 'shop.nothing' doesn't exist (1146)"


def test_a_slow_query_fails_when_the_time_is_over(mariadb: int) -> None:
    start = perf_counter()
    assert failed(ask(mariadb, 0.5, sql_query="SELECT SLEEP(5)")) == (
        "connected, logged in, no answer to the query within 0.5 s"
    )
    assert perf_counter() - start < 4


def test_an_answer_without_end_fails(mariadb: int) -> None:
    words = failed(ask(mariadb, sql_query="SELECT REPEAT('x', 1000000)"))
    assert words.startswith("more than 262144 bytes of answer") or "bytes" in words


def test_a_refused_connection_fails_at_once() -> None:
    assert failed(ask(free_port(), 5)) == "connection refused"


@pytest.mark.parametrize("handler", [silent, drip, flood, hang_up])
def test_misbehaving_servers_fail_in_time(handler: Callable[[socket.socket], None]) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        words = failed(ask(port, 0.4))
        assert perf_counter() - start < 4
    if handler is silent:
        assert words == "connected, no greeting within 0.4 s"


def greeting(plugin: bytes, capabilities: int = 0x89A285) -> bytes:
    """A server's first packet (protocol 10)."""
    low, high = (capabilities & 0xFFFF).to_bytes(2, "little"), (capabilities >> 16).to_bytes(2, "little")
    body = b"\x0a8.0.0\0" + bytes(4) + b"12345678\0" + low + b"\x21\x02\x00" + high + b"\x15" + bytes(10)
    body += b"123456789012\0" + plugin + b"\0"
    return len(body).to_bytes(3, "little") + b"\0" + body


def test_a_password_is_never_sent_in_clear_text_without_tls() -> None:
    heard: list[bytes] = []

    def listening(first: bytes, then: bytes = b"") -> Callable[[socket.socket], None]:
        def handle(connection: socket.socket) -> None:
            connection.sendall(first)
            heard.append(connection.recv(4096))
            connection.sendall(then)
            heard.append(connection.recv(4096))

        return handle

    switch = b"\xfemysql_clear_password\0x\0"
    packet = len(switch).to_bytes(3, "little") + b"\x02" + switch
    with by_hand(listening(greeting(b"mysql_clear_password"))) as port:
        assert "clear text" in failed(ask(port))
    with by_hand(listening(greeting(b"mysql_native_password"), packet)) as port:
        assert "clear text" in failed(ask(port))
    assert PASSWORD.encode() not in b"".join(heard)


def test_a_server_without_tls_fails_a_secure_check() -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(greeting(b"mysql_native_password"))
        silent(connection)

    with by_hand(handle) as port:
        assert failed(ask(port, secure=True)) == "the server offers no TLS"


@given_by(data=st.binary(max_size=80))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_bytes_make_the_client_raise_anything_else(data: bytes) -> None:
    def handle(connection: socket.socket) -> None:
        connection.sendall(len(data).to_bytes(3, "little") + b"\0" + data)
        connection.shutdown(socket.SHUT_WR)

    with by_hand(handle) as port:
        assert failed(ask(port, 1))


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(spec("MYSQL", 3306, user_name=USER, password=PASSWORD))


def test_wrong_parameters_are_refused() -> None:
    assert KINDS["MYSQL"].clean({"sql_query": ""})[1].keys() == {"user_name", "sql_query"}
