"""HTTP, HTTP-ECV, HTTPS and TLS against nginx; TCP-ECV against its plain port."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitors.registry import KINDS
from monitors.spec import ProbeResult
from tests.monitors.kinds.servers import (
    HERE,
    VIP,
    Authority,
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

DAY = timedelta(days=1)
CONFIGURATION = """
worker_processes 1;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
  ssl_protocols TLSv1.2 TLSv1.3;
  access_log {folder}/access.log combined;
  log_format host '$host $ssl_server_name $http_x_check';
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen {address}:{plain} default_server;
    listen [{address6}]:{plain} default_server;
    location / {{ return 200 "hello from $http_host, check $http_x_check\\n"; }}
    location /down {{ return 503 "no\\n"; }}
    location /maintenance {{ return 503 "closed for maintenance\\n"; }}
    location /moved {{ return 301 /; }}
  }}
  server {{
    listen {address}:{secure} ssl default_server; listen [{address6}]:{secure} ssl default_server;
    ssl_certificate {valid[0]}; ssl_certificate_key {valid[1]};
    location /maintenance {{ return 503; }}
    location / {{ return 200 "hello from $http_host by $ssl_server_name\\n"; }}
  }}
  server {{
    listen {address}:{secure} ssl; listen [{address6}]:{secure} ssl; server_name old.example;
    ssl_certificate {ended[0]}; ssl_certificate_key {ended[1]};
  }}
  server {{
    listen {address}:{secure} ssl; listen [{address6}]:{secure} ssl; server_name soon.example;
    ssl_certificate {soon[0]}; ssl_certificate_key {soon[1]};
    location / {{ return 200 "soon\\n"; }}
  }}
  server {{
    listen {address}:{secure} ssl; listen [{address6}]:{secure} ssl; server_name early.example;
    ssl_certificate {early[0]}; ssl_certificate_key {early[1]};
  }}
}}
"""


@dataclass(frozen=True)
class Web:
    plain: int
    secure: int
    authority: Authority


@contextmanager
def nginx_at(at: Place, folder: Path, authority: Authority) -> Iterator[Web]:
    """nginx, with a plain port and one with TLS."""
    plain, secure = free_port(), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            folder=folder,
            address=at.address,
            address6=at.address6,
            plain=plain,
            secure=secure,
            valid=authority.issue("good.example", end=200.5 * DAY),
            ended=authority.issue("old.example", end=-3.5 * DAY),
            soon=authority.issue("soon.example", end=9.5 * DAY),
            early=authority.issue("early.example", begin=2.5 * DAY, end=90 * DAY),
        )
    )
    command = ["nginx", "-c", str(configuration), "-p", str(folder), "-g", "daemon off;", "-e", "stderr"]
    with process(command, plain, at=at):
        yield Web(plain, secure, authority)


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Web]:
    with nginx_at(HERE, tmp_path_factory.mktemp("nginx"), authority) as ports:
        yield ports


def test_http_passes_by_its_status(web: Web) -> None:
    assert passed(probe("HTTP", web.plain)) == "HTTP 200"
    assert passed(probe("HTTP", web.plain, address="::1")) == "HTTP 200"
    assert passed(probe("HTTP", web.plain, http_request="GET /down", resp_code="200, 500-599")) == "HTTP 503"


def test_http_with_another_status_says_both(web: Web) -> None:
    assert failed(probe("HTTP", web.plain, http_request="GET /down")) == "HTTP 503, wanted 200"
    words = failed(probe("HTTP", web.plain, http_request="GET /moved", resp_code="200-299"))
    assert words == "HTTP 301, wanted 200-299"  # not followed


def test_the_trace_of_http_shows_request_and_answer(web: Web) -> None:
    found = trace("HTTP-ECV", web.plain, recv="nobody", address="::1")
    assert steps(found) == ["connect", "sent", "received", "verdict"]
    assert texts(found, "connect") == f"::1 port {web.plain}: TCP handshake done"
    assert texts(found, "sent").startswith(f"GET / HTTP/1.1\\r\\n\nHost: {VIP}:{web.plain}\\r\\n\n")
    assert f"hello from {VIP}:{web.plain}" in texts(found, "received")
    assert texts(found, "verdict").startswith("failed: HTTP 200, “nobody” not found")


def test_the_trace_of_tls_tells_version_cipher_name_and_days(web: Web) -> None:
    found = trace("TLS", web.secure, secure=True, sni="soon.example", verify="CA", ca_certificates=web.authority.pem)
    assert steps(found) == ["connect", "TLS", "verdict"]
    for words in ("TLSv1.3, TLS_", "SNI soon.example", "certificate of CN=soon.example, certificate ends in 9 days"):
        assert words in texts(found, "TLS")
    refused = trace(
        "TLS", web.secure, secure=True, sni="nobody.example", verify="CA", ca_certificates=web.authority.pem
    )
    assert texts(refused, "TLS").startswith("certificate refused: ")


def test_the_host_is_the_vip_unless_a_header_says_otherwise(web: Web) -> None:
    with_port = f"{VIP}:{web.plain}"
    assert passed(probe("HTTP-ECV", web.plain, recv=f"hello from {with_port},")).startswith("HTTP 200, “hello")
    headers = "Host: www.example\r\nX-Check: 7"
    assert passed(probe("HTTP-ECV", web.plain, recv="from www.example, check 7", custom_headers=headers))
    netscaler = "Host: a.example\\r\\nX-Check: 8\\r\\n"
    assert passed(probe("HTTP-ECV", web.plain, recv="from a.example, check 8", custom_headers=netscaler))


def test_http_ecv_finds_texts_and_expressions(web: Web) -> None:
    assert (
        passed(probe("HTTP-ECV", web.plain, recv="/fr[aeiou]m [0-9.]+:/")) == "HTTP 200, “/fr[aeiou]m [0-9.]+:/” found"
    )
    words = failed(probe("HTTP-ECV", web.plain, recv="goodbye"))
    assert words.startswith("HTTP 200, “goodbye” not found in “hello from ")
    assert passed(probe("HTTP-ECV", web.plain, send="GET /down", recv="no")) == "HTTP 503, “no” found"
    assert passed(probe("HTTP-ECV", web.plain, send="GET /down")) == "HTTP 503"


def test_http_ecv_looks_at_the_first_24_kib_only() -> None:
    body = b"x" * 24_576 + b"needle"
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with by_hand(says(b"", b"", b"", b"", answer)) as port:
        words = failed(probe("HTTP-ECV", port, recv="needle"))
    assert words.endswith("… (first 24576 bytes)") or words.endswith("” (first 24576 bytes)")


def test_a_body_that_does_not_end_is_an_incomplete_one() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nneed"
    with by_hand(says(b"", b"", b"", b"", answer)) as port:
        words = failed(probe("HTTP-ECV", port, 0.4, recv="needle"))
    assert words == "connected, HTTP 200, but the body is incomplete within 0.4 s"


def test_what_is_no_http_is_told() -> None:
    with by_hand(says(first=b"220 ready\r\n")) as port:
        assert failed(probe("HTTP", port)).startswith("connected, no HTTP: “220 ready”")


def test_secure_http_takes_any_certificate_and_sends_the_host_as_sni(web: Web) -> None:
    assert passed(probe("HTTP", web.secure, secure=True)) == "HTTP 200"
    headers = "Host: good.example"
    recv = "hello from good.example by good.example"
    assert passed(probe("HTTP-ECV", web.secure, secure=True, custom_headers=headers, recv=recv))
    assert failed(probe("HTTP", web.secure)) == "HTTP 400, wanted 200"  # plain HTTP to a TLS port


def maintained(result: ProbeResult) -> str:
    assert (result.success, result.leaving, result.sent) == (False, True, True)
    return result.message


def test_an_answer_of_maintenance_is_neither_right_nor_wrong(web: Web) -> None:
    given: dict[str, Any] = {"http_request": "GET /maintenance", "trofs_code": 503}
    assert maintained(probe("HTTP", web.plain, **given)) == "HTTP 503, the maintenance code"
    assert maintained(probe("HTTPS", web.secure, **given))
    assert passed(probe("HTTP", web.plain, trofs_code=503)) == "HTTP 200"
    given = {"send": "GET /maintenance", "recv": "closed", "trofs_string": "/for main.*ce/"}
    words = maintained(probe("HTTP-ECV", web.plain, **given))
    assert words == "HTTP 503, “/for main.*ce/” (maintenance) found"
    assert passed(probe("HTTP-ECV", web.plain, trofs_string="maintenance", recv="hello"))
    given = {"send": r"GET /maintenance HTTP/1.0\r\n\r\n", "recv": "closed", "trofs_string": "maintenance"}
    assert maintained(probe("TCP-ECV", web.plain, **given)) == "“maintenance” (maintenance) found in the answer"
    with by_hand(says(first=b"down for maintenance\r\n")) as port:
        assert maintained(probe("TCP-ECV", port, trofs_string="maintenance"))


def test_tls_tells_the_days_left(web: Web) -> None:
    assert passed(probe("TLS", web.secure)) == "TLSv1.3, certificate ends in 200 days"
    words = passed(probe("TLS", web.secure, sni="soon.example"))
    assert words == "TLSv1.3, certificate ends in 9 days (warning below 30 days)"
    assert passed(probe("TLS", web.secure, sni="soon.example", warn_days=5)).endswith("in 9 days")


def test_tls_fails_by_days(web: Web) -> None:
    words = failed(probe("TLS", web.secure, sni="soon.example", fail_days=14))
    assert words == "certificate ends in 9 days, fewer than 14 days"
    assert failed(probe("TLS", web.secure, sni="old.example")).startswith("certificate ended 3 days ago (")
    assert failed(probe("TLS", web.secure, sni="early.example")).startswith("certificate begins in 2 days (")


def test_tls_against_an_authority_looks_at_chain_and_name(web: Web, tmp_path: Path) -> None:
    trusted: dict[str, Any] = {"verify": "CA", "ca_certificates": web.authority.pem}
    assert passed(probe("TLS", web.secure, sni="soon.example", **trusted))
    assert passed(probe("TLS", web.secure, **trusted))  # without a name the chain alone counts
    words = failed(probe("TLS", web.secure, sni="www.example", **trusted))
    assert words.startswith("certificate refused: ")
    assert "www.example" in words
    # The dates are told in our words, not as OpenSSL's failed verification.
    assert failed(probe("TLS", web.secure, sni="old.example", **trusted)).startswith("certificate ended 3 days ago")
    other: dict[str, Any] = {"verify": "CA", "ca_certificates": Authority(tmp_path, "Other CA").pem}
    assert failed(probe("TLS", web.secure, sni="good.example", **other)).startswith("certificate refused: ")


def test_https_needs_both_status_and_certificate(web: Web) -> None:
    words = passed(probe("HTTPS", web.secure, sni="soon.example"))
    assert words == "HTTP 200, certificate ends in 9 days (warning below 30 days)"
    assert failed(probe("HTTPS", web.secure, sni="old.example")).startswith("certificate ended")
    assert failed(probe("HTTPS", web.secure, resp_code="204")) == "HTTP 200, wanted 204"
    assert failed(probe("HTTPS", web.plain)).startswith("TLS failed: ")


def test_tcp_ecv_sends_escapes_and_finds_the_answer(web: Web) -> None:
    request = r"GET / HTTP/1.0\r\n\r\n"
    assert passed(probe("TCP-ECV", web.plain, send=request, recv="200 OK")) == "“200 OK” found in the answer"
    assert passed(probe("TCP-ECV", web.plain, send=request, recv="/HTTP.1.. 2\\d\\d/"))
    assert failed(probe("TCP-ECV", web.plain, send=request, recv="404")).startswith(
        "“404” not in the answer “HTTP/1.1 "
    )
    assert passed(probe("TCP-ECV", web.plain)) == "connected"
    assert passed(probe("TCP-ECV", web.plain, send=request)).startswith("answered “HTTP/1.1 200 OK")
    assert passed(probe("TCP-ECV", web.secure, secure=True, send=request, recv="200 OK"))
    assert passed(probe("TCP", web.secure, secure=True)) == "connected, TLSv1.3"


def test_tcp_ecv_reads_on_until_the_text_is_whole() -> None:
    def in_pieces(connection: object) -> None:
        for piece in (b"wo", b"rl", b"d"):
            connection.sendall(piece)  # type: ignore[attr-defined]  # a socket
            connection.recv(1)  # type: ignore[attr-defined]

    with by_hand(in_pieces) as port:
        assert failed(probe("TCP-ECV", port, 0.4, recv="world")) == (
            "connected, “world” not in the answer “wo” within 0.4 s"
        )
    with by_hand(says(first=b"world")) as port:
        assert passed(probe("TCP-ECV", port, recv="world"))


@pytest.mark.parametrize(
    ("kind", "given", "name", "part"),
    [
        ("HTTP", {"http_request": "GET"}, "", ""),
        ("HTTP", {"http_request": "GET / HTTP/1.1"}, "", ""),
        ("HTTP", {"http_request": "GET /a b"}, "http_request", "is no request"),
        ("HTTP", {"http_request": "GET /\r\nHost: x"}, "http_request", "one line"),
        ("HTTP", {"resp_code": "200-"}, "resp_code", "is no status code"),
        ("HTTP", {"resp_code": "99"}, "resp_code", "100 to 599"),
        ("HTTP", {"resp_code": "300-200"}, "resp_code", "is no status code"),
        ("HTTP", {"custom_headers": "Host x"}, "custom_headers", "is no header"),
        ("HTTP", {"custom_headers": "X: a\x00b"}, "custom_headers", "NUL"),
        ("HTTP", {"send": "x"}, "send", "is not a parameter of HTTP monitors"),
        ("HTTP-ECV", {"recv": "/(/"}, "recv", "is no regular expression"),
        ("HTTP-ECV", {"recv": "x" * 129}, "recv", "at most 128"),
        ("TCP-ECV", {"send": r"\x1"}, "send", "An escape is wrong"),
        ("TLS", {"sni": "10.0.0.1"}, "sni", "is an address"),
        ("TLS", {"sni": "a b"}, "sni", "is not a host name"),
        ("TLS", {"verify": "CA"}, "ca_certificates", "are needed"),
        ("TLS", {"ca_certificates": "x"}, "ca_certificates", "PEM"),
        ("TLS", {"ca_certificates": "é"}, "ca_certificates", "ASCII"),
        ("TLS", {"warn_days": 4000}, "warn_days", "0 to 3650"),
        ("TLS", {"warn_days": "many"}, "warn_days", "whole number"),
        ("TLS", {"verify": "MAYBE"}, "verify", "none of NONE, CA"),
    ],
)
def test_values_that_cannot_be_are_refused_by_name(kind: str, given: dict[str, object], name: str, part: str) -> None:
    _values, problems = KINDS[kind].clean(given)
    assert list(problems) == ([name] if name else [])
    assert part in problems.get(name, "")
