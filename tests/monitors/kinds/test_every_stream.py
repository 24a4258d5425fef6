"""What every kind over TCP must stand: refusal, silence, dripping, floods, hanging up; bounded in time and memory."""

from __future__ import annotations

import resource
from time import perf_counter
from typing import Any

import pytest

from monitors.kind import Secure
from monitors.registry import KINDS
from tests.monitors.kinds.servers import (
    Handler,
    by_hand,
    drip,
    failed,
    flood,
    flood_line,
    hang_up,
    probe,
    silent,
)
from tests.ports import free_port

GIVEN: dict[str, dict[str, Any]] = {
    "TCP-ECV": {"send": "hello", "recv": "world"},
    "HTTP": {},
    "HTTP-ECV": {"recv": "world"},
    "HTTPS": {},
    "TLS": {},
    "FTP": {},
    "FTP-EXTENDED": {"file_name": "a"},
    "SMTP": {},
    "POP3": {},
    "IMAP": {},
    "NNTP": {},
    "REDIS": {},
}
TIMEOUT = 0.4


@pytest.mark.parametrize("kind", GIVEN)
def test_a_refused_connection_fails_at_once(kind: str) -> None:
    result = probe(kind, free_port(), 5, **GIVEN[kind])
    assert failed(result) == "connection refused"
    assert result.duration < 4


@pytest.mark.parametrize("handler", [silent, drip], ids=["silent", "dripping"])
@pytest.mark.parametrize("kind", GIVEN)
def test_a_server_that_never_completes_an_answer_fails_when_the_time_is_over(kind: str, handler: Handler) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        words = failed(probe(kind, port, TIMEOUT, **GIVEN[kind]))
        took = perf_counter() - start
    # Some kinds know before the end that what drips can be no answer.
    assert words.startswith(("connected, ", "answered ", "TLS failed", "PING: ", "banner ", "more than ")), words
    assert took < 4
    if handler is silent:
        assert words.startswith("connected, no ")
        assert words.endswith(" within 0.4 s")
        assert took >= TIMEOUT


@pytest.mark.parametrize("handler", [flood, flood_line], ids=["lines", "one line"])
@pytest.mark.parametrize("kind", GIVEN)
def test_a_flood_ends_the_check_and_takes_little_memory(kind: str, handler: Handler) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with by_hand(handler) as port:
        result = probe(kind, port, 10, **GIVEN[kind])
    assert failed(result)
    assert result.duration < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB


@pytest.mark.parametrize("kind", GIVEN)
def test_a_server_that_hangs_up_is_told_apart_from_a_silent_one(kind: str) -> None:
    with by_hand(hang_up) as port:
        result = probe(kind, port, 10, **GIVEN[kind])
    assert "closed" in failed(result) or "reset" in result.message or "TLS failed" in result.message, result.message
    assert result.duration < 4


@pytest.mark.parametrize("kind", [name for name in ("TCP", *GIVEN) if KINDS[name].secure is Secure.OPTIONAL])
def test_a_server_without_tls_fails_a_secure_check(kind: str) -> None:
    with by_hand(silent) as port:
        result = probe(kind, port, TIMEOUT, secure=True, **GIVEN.get(kind, {}))
    assert failed(result) == "connected, no TLS handshake within 0.4 s"


@pytest.mark.parametrize("kind", GIVEN)
def test_messages_fit_their_column_and_are_one_printable_line(kind: str) -> None:
    def noise(connection: object) -> None:
        connection.sendall(bytes(range(256)) * 8 + b"\r\n")  # type: ignore[attr-defined]  # a socket
        silent(connection)  # type: ignore[arg-type]

    with by_hand(noise) as port:
        words = failed(probe(kind, port, TIMEOUT, **GIVEN[kind]))
    assert len(words) < 255
    assert words.isprintable()
