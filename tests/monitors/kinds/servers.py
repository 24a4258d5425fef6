"""Servers for the tests of kinds: real ones as processes or threads, and misbehaving ones by hand. Loopback only."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from monitors.registry import KINDS
from monitors.spec import Params, ProbeResult, ProbeSpec
from monitors.trace import Trace
from tests.monitors.kinds.tracing import traced_run

VIP = "10.0.0.10"
LOOPBACK = "127.0.0.1"
Handler = Callable[[socket.socket], None]


@dataclass(frozen=True)
class Place:
    """Where a server runs: its addresses, how to get there, and what was started there."""

    address: str = LOOPBACK
    address6: str = "::1"
    clients: str = LOOPBACK
    clients6: str = "::1"
    entered: Callable[[], AbstractContextManager[object]] = nullcontext
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)


HERE = Place()


def spec(
    kind: str, port: int, timeout: float = 2.0, *, secure: bool = False, address: str = LOOPBACK, **given: Any
) -> ProbeSpec:
    """A spec as the store makes it: all parameters there, checked by the kind."""
    one = KINDS[kind]
    values, problems = one.clean(given)
    assert not problems, problems
    return ProbeSpec(
        kind, address, VIP, port, timeout, Params(values, secret=one.secrets), secure=one.is_secure(secure)
    )


def probe(
    kind: str, port: int, timeout: float = 2.0, *, secure: bool = False, address: str = LOOPBACK, **given: Any
) -> ProbeResult:
    """Run one probe; its trace is looked at too."""
    return trace(kind, port, timeout, secure=secure, address=address, **given).result


def trace(
    kind: str, port: int, timeout: float = 2.0, *, secure: bool = False, address: str = LOOPBACK, **given: Any
) -> Trace:
    """Run one probe and return its trace."""
    return traced_run(spec(kind, port, timeout, secure=secure, address=address, **given))


def passed(result: ProbeResult) -> str:
    """The words of a probe that must have passed."""
    assert result.success, result.message
    return result.message


def failed(result: ProbeResult) -> str:
    """The words of a probe that must have failed, and must have reached the network."""
    assert not result.success, result.message
    assert result.sent, result.message
    return result.message


@contextmanager
def by_hand(handler: Handler) -> Iterator[int]:
    """A TCP server that hands each connection to ``handler``; its port."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the probe is free to go at any time
            connection.settimeout(5)
            handler(connection)

    def accept() -> None:
        while not stop.is_set():
            try:
                connection, _peer = server.accept()
            except TimeoutError:
                continue
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    with socket.create_server((LOOPBACK, 0)) as server:
        server.settimeout(0.05)
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            stop.set()
            acceptor.join(5)
            for thread in threads:
                thread.join(6)


def says(*answers: bytes, first: bytes = b"") -> Handler:
    """A server that sends ``first``, then one answer to each line that comes."""

    def handle(connection: socket.socket) -> None:
        connection.sendall(first)
        left = list(answers)
        with connection.makefile("rb") as lines:
            while left and lines.readline():
                connection.sendall(left.pop(0))
            lines.read()

    return handle


def silent(connection: socket.socket) -> None:
    """Accept, and say nothing until the other side goes."""
    while connection.recv(65536):
        pass


def drip(connection: socket.socket) -> None:
    """A byte every 20 ms for 5 s, never a whole answer; a check that ends within 4 s did not wait for the end."""
    for _ in range(250):
        connection.sendall(b"2")
        time.sleep(0.02)


def flood(connection: socket.socket) -> None:
    """Lines without end, at most 64 MiB."""
    for _ in range(1024):
        connection.sendall(b"220-x\r\n" * 9362)


def flood_line(connection: socket.socket) -> None:
    """One line without end, at most 64 MiB."""
    for _ in range(1024):
        connection.sendall(b"x" * 65536)


def hang_up(connection: socket.socket) -> None:
    """Close at once."""


@contextmanager
def process(
    command: Sequence[str], port: int, *, udp: bool = False, at: Place = HERE, version: int = 4
) -> Iterator[None]:
    """A server as a process, from when it listens; skips the test when it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed (`make test` installs it)")
    with at.entered():
        running = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
        )
    at.started.append(running)
    try:
        with at.entered():
            _await(at.address if version == 4 else at.address6, port, running, udp=udp)
        yield
    finally:
        running.terminate()
        try:
            running.wait(5)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait(5)
        if running.stdout:
            running.stdout.close()


def _await(address: str, port: int, running: subprocess.Popen[bytes], *, udp: bool) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if running.poll() is not None:
            said = running.stdout.read().decode(errors="replace") if running.stdout else ""
            pytest.fail(f"the server ended with {running.returncode}: {said}")
        if udp:
            table = "udp6" if ":" in address else "udp"
            if f":{port:04X} " in Path(f"/proc/thread-self/net/{table}").read_text():
                return
        else:
            with suppress(OSError), socket.create_connection((address, port), 0.2):
                return
        time.sleep(0.02)
    pytest.fail(f"nothing listens on port {port} after 30 s")


class Authority:
    """A certificate authority that lives for one test run."""

    def __init__(self, folder: Path, name: str = "Test CA") -> None:
        self.folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(self._name, self._key, timedelta(days=-1), timedelta(days=3650), authority=True)
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, host: str, *, begin: timedelta = timedelta(days=-400), end: timedelta) -> tuple[Path, Path]:
        """Files of a certificate and its key; ``begin`` and ``end`` are from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        certificate = self._sign(name, key, begin, end, host=host)
        number = len(list(self.folder.glob("*.crt")))
        crt, private = self.folder / f"{number}.crt", self.folder / f"{number}.key"
        crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return crt, private

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        begin: timedelta,
        end: timedelta,
        *,
        host: str = "",
        authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + begin)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if host:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        return builder.sign(self._key, hashes.SHA256())
