"""REDIS against redis-server, TFTP against tftpd-hpa, NNTP against a small news server of our own."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from tests.monitors.kinds.news import PASSWORD
from tests.monitors.kinds.servers import (
    HERE,
    LOOPBACK,
    Place,
    by_hand,
    failed,
    passed,
    probe,
    process,
    says,
    trace,
)
from tests.monitors.kinds.tracing import steps, texts
from tests.ports import free_port


@contextmanager
def redis(folder: Path, *options: str, at: Place = HERE) -> Iterator[int]:
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", at.address, at.address6, "--save", ""]
    with process([*command, "--dir", str(folder), "--protected-mode", "no", *options], port, at=at):
        yield port


def test_redis_answers_pong_and_tells_its_role(tmp_path: Path) -> None:
    with redis(tmp_path) as port:
        assert passed(probe("REDIS", port)) == "PONG"
        assert passed(probe("REDIS", port, role="MASTER")) == "PONG, MASTER"
        assert failed(probe("REDIS", port, role="REPLICA")) == "PONG, but the role is MASTER, wanted REPLICA"
        assert failed(probe("REDIS", port, password="x")).startswith("AUTH: ")


def test_redis_with_a_password_needs_it(tmp_path: Path) -> None:
    with redis(tmp_path, "--requirepass", PASSWORD) as port:
        assert failed(probe("REDIS", port)) == "PING: NOAUTH Authentication required."
        assert passed(probe("REDIS", port, password=PASSWORD)) == "PONG"
        assert passed(probe("REDIS", port, user_name="default", password=PASSWORD)) == "PONG"
        words = failed(probe("REDIS", port, password="hunter2"))
        assert words.startswith("AUTH: WRONGPASS")
        assert "hunter2" not in words


def test_the_trace_of_redis_hides_the_password_even_in_an_echo(tmp_path: Path) -> None:
    with redis(tmp_path, "--requirepass", PASSWORD) as port:
        found = trace("REDIS", port, password=PASSWORD, role="MASTER")
    assert steps(found) == ["connect", *("sent", "received") * 3, "verdict"]
    assert texts(found, "sent").splitlines()[4] == "•••\\r\\n"
    with by_hand(says(b"-ERR no", b"", first=f"-ERR your password {PASSWORD[:4]}".encode())) as port:
        assert "•••" not in texts(trace("REDIS", port, password=PASSWORD), "received")  # half of it is not it


def test_a_replica_that_lost_its_master_fails_a_check_of_its_role(tmp_path: Path) -> None:
    with redis(tmp_path, "--replicaof", LOOPBACK, str(free_port())) as port:
        assert passed(probe("REDIS", port)) == "PONG"
        assert failed(probe("REDIS", port, role="REPLICA")).startswith("PONG, but the replica's link to its master is ")
        assert failed(probe("REDIS", port, role="MASTER")) == "PONG, but the role is REPLICA, wanted MASTER"


def test_what_is_not_redis_is_told() -> None:
    with by_hand(says(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert failed(probe("REDIS", port)) == "PING: the answer is not of Redis"


@contextmanager
def tftp_at(at: Place, files: Path, port: int, *, version: int = 4) -> Iterator[None]:
    """tftpd-hpa with a few files."""
    if os.geteuid() != 0:
        pytest.skip("in.tftpd needs root")
    for name, size in (("small", 100), ("block", 512), ("large", 5000), ("empty", 0)):
        (files / name).write_bytes(b"x" * size)
        (files / name).chmod(0o644)
    command = ["in.tftpd", "--foreground", "--secure", "--user", "nobody"]
    address = at.address if version == 4 else f"[{at.address6}]"
    with process([*command, "--address", f"{address}:{port}", str(files)], port, udp=True, at=at, version=version):
        yield


@pytest.fixture(scope="module")
def tftp(public: Path) -> Iterator[int]:
    port = free_port()
    with tftp_at(HERE, public, port):
        yield port


def test_tftp_fetches_the_first_block(tftp: int) -> None:
    assert passed(probe("TFTP", tftp, file_name="small")) == "small: 100 bytes"
    assert passed(probe("TFTP", tftp, file_name="empty")) == "empty: 0 bytes"
    assert passed(probe("TFTP", tftp, file_name="large")) == "large: 512 bytes, the first of more"
    assert passed(probe("TFTP", tftp, file_name="block")) == "block: 512 bytes, the first of more"


def test_tftp_without_the_file_says_so(tftp: int) -> None:
    assert failed(probe("TFTP", tftp, file_name="gone")) == "gone: error 1, File not found"


def test_the_trace_of_tftp_shows_three_datagrams(tftp: int) -> None:
    found = trace("TFTP", tftp, file_name="small")
    assert steps(found) == ["sent", "received", "sent", "verdict"]
    assert texts(found, "sent") == "\\x00\\x01small\\x00octet\\x00\n\\x00\\x04\\x00\\x01"
    assert [step.size for step in found.steps] == [14, 104, 4, None]


def test_a_refused_udp_port_fails_at_once() -> None:
    result = probe("TFTP", free_port(), 5, file_name="a")
    assert failed(result) == "connection refused"
    assert result.duration < 4


@contextmanager
def datagrams(*answers: bytes, others: bool = False) -> Iterator[int]:
    """A UDP server that gives these answers to the first request; with ``others``, from another address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind((LOOPBACK, 0))
        server.settimeout(30)

        def serve() -> None:
            _request, client = server.recvfrom(2048)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.bind(("127.0.0.2" if others else LOOPBACK, 0))
                for answer in answers:
                    other.sendto(answer, client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(5)


def test_a_silent_tftp_server_fails_when_the_time_is_over() -> None:
    start = perf_counter()
    with datagrams() as port:
        assert failed(probe("TFTP", port, 0.3, file_name="a")) == "no answer within 0.3 s"
    assert 0.3 <= perf_counter() - start < 4


def test_answers_of_other_addresses_do_not_count() -> None:
    with datagrams(b"\0\3\0\1data", others=True) as port:
        words = failed(probe("TFTP", port, 0.3, file_name="a"))
    assert words.startswith("no answer within 0.3 s, only other packets (from 127.0.0.2 port ")


@pytest.mark.parametrize("answer", [b"", b"\0", b"\0\3\0\2data", b"\0\7\0\1data", b"\0\3\0\1" + b"x" * 513])
def test_what_is_no_first_block_fails(answer: bytes) -> None:
    with datagrams(answer) as port:
        assert failed(probe("TFTP", port, file_name="a")).startswith("answered “")


@contextmanager
def news_at(at: Place) -> Iterator[int]:
    """A small news server of our own: those of Debian need a mail server and a host name to be installed."""
    port = free_port()
    with process([sys.executable, "-m", "tests.monitors.kinds.news", at.address, at.address6, str(port)], port, at=at):
        yield port


@pytest.fixture(scope="module")
def news() -> Iterator[int]:
    with news_at(HERE) as port:
        yield port


def test_nntp_greets_logs_in_and_finds_the_group(news: int) -> None:
    login: dict[str, Any] = {"user_name": "probe", "password": PASSWORD}
    assert passed(probe("NNTP", news)) == "greeted: 200 news.example ready"
    assert passed(probe("NNTP", news, **login)) == "logged in: 281 welcome"
    assert passed(probe("NNTP", news, group="misc.test", **login)) == "misc.test: 211 3 1 3 misc.test"


def test_the_trace_of_nntp_hides_the_password(news: int) -> None:
    found = trace("NNTP", news, user_name="probe", password=PASSWORD)
    assert "AUTHINFO PASS •••\\r\\n" in texts(found, "sent")


def test_nntp_without_login_or_group_says_so(news: int) -> None:
    assert failed(probe("NNTP", news, group="misc.test")) == "GROUP misc.test: 480 log in first"
    login: dict[str, Any] = {"user_name": "probe", "password": PASSWORD}
    assert failed(probe("NNTP", news, group="misc.gone", **login)) == "GROUP misc.gone: 411 no such newsgroup"
    words = failed(probe("NNTP", news, user_name="probe", password="hunter2"))
    assert words == "AUTHINFO PASS: 481 wrong password"
