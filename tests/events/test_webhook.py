"""Signed posts, and what is no success."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.events.samples import event
from tests.monitors.kinds.servers import LOOPBACK, Authority, by_hand, drip
from tests.ports import free_port
from webui.events import wire
from webui.events.kind import DeliveryError
from webui.events.webhook import KIND, Parameters, headers_of, key_of, send

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Receiver(http.server.ThreadingHTTPServer):
    """Keeps what it got; answers with ``answers`` in turn, then 204."""

    daemon_threads = True

    def __init__(self, answers: list[int]) -> None:
        super().__init__((LOOPBACK, 0), Handler)
        self.answers = answers
        self.got: list[tuple[str, dict[str, str], bytes, int]] = []


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.got.append((self.path, headers, body, self.client_address[1]))
        self.send_response(self.server.answers.pop(0) if self.server.answers else 204)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_args: Any) -> None:
        """Quiet."""


@contextmanager
def receiver(*answers: int, context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    server = Receiver(list(answers))
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def given(server: Receiver, path: str = "/hook?token=1") -> Parameters:
    return Parameters(url=f"http://{LOOPBACK}:{server.server_address[1]}{path}", signing_secret=SECRET)


def test_id_time_and_body_are_signed() -> None:
    # standard-webhooks, spec: the same computation by hand, from its text.
    one = event()
    body = one.as_json()
    signed = b"transition-1.1614265330." + body
    expected = base64.b64encode(hmac.new(bytes(range(32)), signed, hashlib.sha256).digest()).decode()
    assert headers_of(one, body, SECRET, 1614265330) == {
        "webhook-id": "transition-1",
        "webhook-timestamp": "1614265330",
        "webhook-signature": f"v1,{expected}",
    }


def test_the_published_vector_of_the_reference_libraries_is_met() -> None:
    secret, payload = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'

    class Named:
        id = "msg_p5jXN8AQM9LWM0D4loKWxJek"

    found = headers_of(Named(), payload, secret, 1614265330)  # type: ignore[arg-type]  # the id is all it takes
    assert found["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_each_event_is_posted_signed_on_one_connection() -> None:
    with receiver() as server:
        events = [event(1), event(2)]
        assert list(send(given(server), events)) == [[events[0]], [events[1]]]
    (path, headers, body, port), (_path, second, _body, port2) = server.got
    assert path == "/hook?token=1"
    assert port == port2
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key_of(SECRET), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert (headers["webhook-id"], second["webhook-id"]) == ("transition-1", "transition-2")
    found = json.loads(body)
    assert (found["type"], found["timestamp"]) == ("transition", "2026-11-23T12:00:01.234567Z")
    assert found["data"]["service"] == "web1"


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 410, 429, 500, 503])
def test_anything_but_2xx_is_no_success_and_no_redirection_is_followed(status: int) -> None:
    with receiver(200, status) as server:
        sending = send(given(server), [event(1), event(2), event(3)])
        assert next(iter(sending)) == [event(1)]
        with pytest.raises(DeliveryError, match=f"answered {status}") as told:
            list(sending)
    assert [path for path, *_rest in server.got] == ["/hook?token=1"] * 2
    assert "token" not in str(told.value)
    assert SECRET not in str(told.value)


def test_a_receiver_that_closes_each_connection_gets_all() -> None:
    def close_after_one(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with by_hand(close_after_one) as port:
        parameters = Parameters(url=f"http://{LOOPBACK}:{port}/", signing_secret=SECRET)
        assert len(list(send(parameters, [event(1), event(2), event(3)]))) == 3


def test_a_receiver_that_drips_is_left_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire.Deadline.__init__, "__defaults__", (0.5,))
    with by_hand(drip) as port:
        began = time.monotonic()
        with pytest.raises(DeliveryError):
            list(send(Parameters(url=f"http://{LOOPBACK}:{port}/", signing_secret=SECRET), [event()]))
        assert time.monotonic() - began < 4


def test_nobody_there_is_said_in_words() -> None:
    port = free_port()
    with pytest.raises(DeliveryError, match=f"http://127.0.0.1:{port}: Connection refused"):
        list(send(Parameters(url=f"http://{LOOPBACK}:{port}/", signing_secret=SECRET), [event()]))


@pytest.mark.parametrize("trusted", [True, False])
def test_tls_is_verified(trusted: bool, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    authority, other = Authority(tmp_path / "a"), Authority(tmp_path / "b", "Other CA")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost", end=timedelta(days=9)))
    with receiver(context=context) as server:
        parameters = Parameters(
            url=f"https://localhost:{server.server_address[1]}/",
            signing_secret=SECRET,
            ca_certificates=(authority if trusted else other).pem,
        )
        if trusted:
            assert len(list(send(parameters, [event(1), event(2)]))) == 2
        else:
            with pytest.raises(DeliveryError, match="certificate is not trusted"):
                list(send(parameters, [event()]))
    assert len(server.got) == (2 if trusted else 0)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"url": "ftp://host/"}, "url"),
        ({"url": "https://"}, "url"),
        ({"url": "https://user:password@host/"}, "url"),
        ({"url": "https://host/a b"}, "url"),
        ({"url": "https://host:99999/"}, "url"),
        ({"url": "https://hö.example/"}, "url"),
        ({"signing_secret": "short"}, "signing_secret"),
        ({"signing_secret": "whsec_" + base64.b64encode(b"x" * 23).decode()}, "signing_secret"),
        ({"signing_secret": "whsec_!!!"}, "signing_secret"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(values: dict[str, str], name: str) -> None:
    wrong = KIND.clean({"url": "https://host/", "signing_secret": SECRET} | values)[1]
    assert set(wrong) == {name}
    assert values.get("signing_secret", "no secret") not in wrong[name]


def test_a_list_shows_no_token_of_the_url() -> None:
    assert KIND.shown({"url": "https://host:8443/hook?token=1"}) == "https://host:8443/hook"
