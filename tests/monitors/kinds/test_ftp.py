"""FTP and FTP-EXTENDED against vsftpd, and pyftpdlib, whose PASV answers name an address that leads nowhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.ioloop import IOLoop
from pyftpdlib.servers import FTPServer

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

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    files = tmp_path_factory.mktemp("ftp")
    (files / "there.txt").write_text("content")
    (files / "large.bin").write_bytes(bytes(1_000_000))
    yield from serve(files, extended=True)


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """One that knows PASV alone."""
    files: Path = tmp_path_factory.mktemp("old")
    (files / "there.txt").write_text("content")
    yield from serve(files, extended=False)


def serve(files: Path, *, extended: bool) -> Iterator[int]:
    class Handler(FTPHandler):  # type: ignore[misc]  # pyftpdlib has no types
        authorizer = DummyAuthorizer()
        masquerade_address = "203.0.113.9"  # RFC 5737: nobody's
        banner = "ready"
        auth_failed_timeout = 0
        proto_cmds = (
            FTPHandler.proto_cmds
            if extended
            else {name: value for name, value in FTPHandler.proto_cmds.items() if name != "EPSV"}
        )

    Handler.authorizer.add_user("probe", PASSWORD, str(files))
    Handler.authorizer.add_anonymous(str(files))
    loop = IOLoop()
    with FTPServer((LOOPBACK, 0), Handler, ioloop=loop) as running:
        stop = threading.Event()

        def turn() -> None:
            while not stop.is_set():
                loop.loop(timeout=0.05, blocking=False)

        thread = threading.Thread(target=turn, daemon=True)
        thread.start()
        yield running.address[1]
        stop.set()
        thread.join(5)
        running.close_all()


VSFTPD = """{listen}=YES
{listen_address}
listen_port={port}
background=NO
anonymous_enable=YES
local_enable=NO
write_enable=NO
anon_root={files}
ftpd_banner=ready
vsftpd_log_file={folder}/log
seccomp_sandbox=NO
delay_failed_login=0
max_login_fails=1
"""


@contextmanager
def vsftpd_at(at: Place, folder: Path, port: int, *, version: int = 4) -> Iterator[None]:
    """Vsftpd for anonymous users; ``folder`` is one that others can enter."""
    if os.geteuid() != 0:
        pytest.skip("vsftpd needs root")
    files = folder / "files"
    if not files.exists():
        files.mkdir(mode=0o755)
        (files / "there.txt").write_text("content")
        (files / "large.bin").write_bytes(bytes(1_000_000))
    listen = "listen" if version == 4 else "listen_ipv6"
    address = f"listen_address={at.address}" if version == 4 else f"listen_address6={at.address6}"
    configuration = folder / f"vsftpd{version}.conf"
    configuration.write_text(
        VSFTPD.format(listen=listen, listen_address=address, port=port, files=files, folder=folder)
    )
    with process(["/usr/sbin/vsftpd", str(configuration)], port, at=at, version=version):
        yield


@pytest.fixture(scope="module")
def vsftpd(public: Path) -> Iterator[int]:
    port = free_port()
    with vsftpd_at(HERE, public, port):
        yield port


def test_vsftpd_lets_in_and_sends_its_file(vsftpd: int) -> None:
    assert passed(probe("FTP", vsftpd)) == "logged in: 230 Login successful."
    assert passed(probe("FTP-EXTENDED", vsftpd, file_name="there.txt")) == "there.txt: 7 bytes fetched"
    assert passed(probe("FTP-EXTENDED", vsftpd, file_name="large.bin")) == "large.bin: first 65536 bytes fetched"


def test_vsftpd_refuses_users_and_files_in_its_words(vsftpd: int) -> None:
    words = failed(probe("FTP", vsftpd, user_name="probe", password="hunter2"))
    assert words == "USER probe: 530 This FTP server is anonymous only."
    assert failed(probe("FTP-EXTENDED", vsftpd, file_name="gone")) == "RETR gone: 550 Failed to open file."


def test_ftp_logs_in_anonymously_or_by_name(server: int) -> None:
    assert passed(probe("FTP", server)) == "logged in: 230 Login successful."
    assert passed(probe("FTP", server, user_name="probe", password=PASSWORD)).startswith("logged in")


def test_ftp_with_a_wrong_password_says_so_without_it(server: int) -> None:
    words = failed(probe("FTP", server, user_name="probe", password="hunter2"))
    assert words == "PASS: 530 Authentication failed."


def test_the_trace_shows_both_connections_and_hides_the_password(server: int) -> None:
    found = trace("FTP-EXTENDED", server, user_name="probe", password=PASSWORD, file_name="there.txt")
    assert steps(found).count("connect") == 2
    assert "PASS •••\\r\\n" in texts(found, "sent")
    assert "content" in texts(found, "received").splitlines()


def test_the_file_is_fetched_from_the_probe_address_whatever_the_server_says(server: int, old_server: int) -> None:
    assert passed(probe("FTP-EXTENDED", server, file_name="there.txt")) == "there.txt: 7 bytes fetched"
    assert passed(probe("FTP-EXTENDED", old_server, file_name="there.txt")) == "there.txt: 7 bytes fetched"


def test_of_a_large_file_the_beginning_is_fetched(server: int) -> None:
    assert passed(probe("FTP-EXTENDED", server, file_name="large.bin")) == "large.bin: first 65536 bytes fetched"


def test_a_file_that_is_not_there_fails(server: int) -> None:
    assert failed(probe("FTP-EXTENDED", server, file_name="gone.txt")).startswith("RETR gone.txt: 550 ")


def test_a_data_connection_that_fails_is_named() -> None:
    answers = (b"230 in\r\n", b"200 binary\r\n", b"229 go (|||1|)\r\n")
    with by_hand(says(*answers, first=b"220-hello\r\n more\r\n220 ready\r\n")) as port:
        words = failed(probe("FTP-EXTENDED", port, file_name="a"))
    assert words == "logged in, but the data connection to port 1 failed: connection refused"


def test_a_server_that_is_full_fails_by_its_banner() -> None:
    with by_hand(says(first=b"421 too many users\r\n")) as port:
        assert failed(probe("FTP", port)) == "banner “421 too many users”, wanted 220"


@pytest.mark.parametrize("answer", [b"229 go (|||99999|)\r\n", b"229 go\r\n"])
def test_a_passive_port_that_is_none_fails(answer: bytes) -> None:
    with by_hand(says(b"230 in\r\n", b"200 binary\r\n", answer, first=b"220 ready\r\n")) as port:
        assert failed(probe("FTP-EXTENDED", port, file_name="a")).startswith("EPSV: 229 go")
