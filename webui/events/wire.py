"""Connections that end: whatever a target drips, a delivery is over when its time is."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from monitors.parameters import text

STEP_SECONDS: Final = 10.0  # for a connection, or one answer
TOTAL_SECONDS: Final = 30.0  # for all of a delivery

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,253})|[0-9A-Fa-f:.]{2,45}")


class Deadline:
    """Shuts its connections when the time is over; what waits for them then fails with an OSError."""

    def __init__(self, seconds: float = TOTAL_SECONDS) -> None:
        self._end = time.monotonic() + seconds
        self._handles: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._shut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _tb: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            for handle in self._handles:
                handle.close()
            self._handles.clear()

    def step(self) -> float:
        """Seconds that one step may take. Raises TimeoutError when the time is over."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError("out of time")
        return min(STEP_SECONDS, left)

    def connect(self, host: str, port: int) -> socket.socket:
        """A TCP connection. Raises OSError."""
        connection = socket.create_connection((host, port), timeout=self.step())
        with self._lock:
            # A handle of our own: one that is wrapped in TLS has lost its descriptor to the wrapper.
            self._handles.append(connection.dup())
        return connection

    def _shut(self) -> None:
        with self._lock:
            for handle in self._handles:
                with suppress(OSError):  # it has ended by itself
                    handle.shutdown(socket.SHUT_RDWR)


def tls_context(authorities: str) -> ssl.SSLContext:
    """Verifies certificate and name, by these PEM certificates or by the system's. Raises ssl.SSLError."""
    return ssl.create_default_context(cadata=authorities or None)


def words(error: BaseException) -> str:
    """An error of the network for the operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, socket.gaierror):
        return f"its name is not found: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__


def authorities() -> Any:
    """The parameter of CA certificates."""
    return text(
        help="PEM. Empty: the certificates that the system trusts.",
        label="CA certificates",
        limit=65536,
        multiline=True,
        check=_pem_problem,
    )


def _pem_problem(value: str) -> str:
    if not value.isascii():  # RFC 7468, section 2; OpenSSL takes no more
        return "CA certificates are not in PEM: it has ASCII characters alone."
    try:
        tls_context(value)
    except (ssl.SSLError, ValueError) as error:
        return f"CA certificates are not in PEM: {words(error)}."
    return ""


def host_problem(value: str) -> str:
    """What is wrong with a host name or address."""
    return (
        ""
        if _HOST.fullmatch(value)
        else f"“{value[:60]}{'…' * (len(value) > 60)}” is neither a host name nor an address."
    )
