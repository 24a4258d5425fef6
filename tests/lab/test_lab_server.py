"""The lab's HTTP server, on a free port of the loopback interface."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dataplane.lab.server import BIG_FILE, BIG_FILE_SIZE, SMALL_FILE, SMALL_FILE_SIZE, LabServer, write_files


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


@pytest.fixture
def server(files: Path) -> Iterator[LabServer]:
    with LabServer("server9", files, 0) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join(5)


def ask(server: LabServer, method: str, path: str, address: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(address, server.server_port, timeout=5)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_it_says_its_name_over_both_families(server: LabServer, address: str) -> None:
    status, headers, body = ask(server, "GET", "/", address)
    assert (status, headers["X-Server"], body) == (200, "server9", b"server9\n")
    assert headers["Content-Type"].startswith("text/plain")


def test_files_arrive_whole(server: LabServer, files: Path) -> None:
    status, headers, body = ask(server, "GET", f"/{BIG_FILE}?again")
    assert (status, headers["Content-Length"], len(body)) == (200, str(BIG_FILE_SIZE), BIG_FILE_SIZE)
    assert body == (files / BIG_FILE).read_bytes()
    assert body[:SMALL_FILE_SIZE] == (files / SMALL_FILE).read_bytes()


def test_the_files_are_the_same_on_every_run(files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("again")
    write_files(other)
    assert (other / BIG_FILE).read_bytes() == (files / BIG_FILE).read_bytes()


def test_head_has_headers_alone_and_the_connection_is_kept(server: LabServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    kept = None
    try:
        for method, path, length in (("HEAD", f"/{BIG_FILE}", 0), ("GET", "/", 8), ("HEAD", "/", 0), ("GET", "/", 8)):
            connection.request(method, path)
            response = connection.getresponse()
            assert (response.status, len(response.read())) == (200, length)
            assert kept in (None, connection.sock)
            kept = connection.sock
            assert kept is not None
    finally:
        connection.close()


@pytest.mark.parametrize("path", ["/none.bin", "/../x", "/./10mb.bin", "/.hidden", "//etc/passwd", "/sub/10mb.bin"])
def test_nothing_but_the_files_is_served(server: LabServer, files: Path, path: str) -> None:
    (files / ".hidden").write_text("secret")
    assert ask(server, "GET", path)[0] == 404
