"""E-mail through aiosmtpd: one message for many events, TLS verified, logins never in clear text."""

from __future__ import annotations

import email
import email.policy
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.events.samples import event
from tests.monitors.kinds.servers import LOOPBACK, Authority, by_hand, says
from tests.ports import free_port
from webui.events.kind import DeliveryError
from webui.events.mail import KIND, Parameters, send


class Mailbox:
    """Keeps the mails; refuses recipients at refused.example."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address.endswith("@refused.example"):
            return "550 nobody here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.recipients += envelope.rcpt_tos
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


def authenticator(_server: Any, _session: Any, _envelope: Any, _way: str, given: Any) -> AuthResult:
    right = isinstance(given, LoginPassword) and given == LoginPassword(b"halfpipe", b"mail password")
    return AuthResult(success=right, handled=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@contextmanager
def server(authority: Authority | None = None) -> Iterator[tuple[int, Mailbox]]:
    """Plain, or with STARTTLS and a login that need an authority."""
    mailbox, more = Mailbox(), {}
    if authority:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.issue("localhost", end=timedelta(days=9)))
        more = {"tls_context": context, "require_starttls": True, "authenticator": authenticator}
    controller = Controller(mailbox, hostname=LOOPBACK, port=free_port(), **more)
    controller.start()
    try:
        yield controller.port, mailbox
    finally:
        controller.stop()


def parameters(port: int, **values: Any) -> Parameters:
    given: dict[str, Any] = {
        "recipients": "ops@example.org",
        "sender": "halfpipe@example.org",
        "host": "localhost",
        "port": port,
    }
    return Parameters(**(given | {"security": "NONE"} | values))


def test_several_events_go_in_one_mail() -> None:
    with server() as (port, mailbox):
        events = [event(1), event(2, "second\r\nBcc: everybody@example.org"), event(3)]
        assert list(send(parameters(port, recipients="ops@example.org, duty@example.org"), events)) == [events]
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[Halfpipe] service web1 at 10.77.0.10: monitor tcp UP -> DOWN: refused (and 2 more)"
    assert mail["Bcc"] is None
    assert mailbox.recipients == ["ops@example.org", "duty@example.org"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Message-ID"].startswith("<transition-1.transition-3.3@")
    lines = mail.get_content().splitlines()
    assert lines[0] == "2026-11-23 12:00:01 UTC  service web1 at 10.77.0.10: monitor tcp UP -> DOWN: refused"
    assert lines[1].endswith("second  Bcc: everybody@example.org")


def test_login_and_starttls(authority: Authority) -> None:
    login = {"security": "STARTTLS", "user_name": "halfpipe", "ca_certificates": authority.pem}
    with server(authority) as (port, mailbox):
        assert len(list(send(parameters(port, password="mail password", **login), [event()]))) == 1
        assert len(mailbox.mails) == 1
        with pytest.raises(DeliveryError, match="it said 535") as told:
            list(send(parameters(port, password="wrong one", **login), [event()]))
    assert "wrong one" not in str(told.value)


def test_a_server_that_is_not_trusted_gets_neither_password_nor_mail(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "Other CA")
    with server(authority) as (port, mailbox):
        given = parameters(
            port, security="STARTTLS", user_name="halfpipe", password="mail password", ca_certificates=other.pem
        )
        with pytest.raises(DeliveryError, match="certificate is not trusted"):
            list(send(given, [event()]))
    assert mailbox.mails == []


def test_a_server_without_starttls_gets_nothing() -> None:
    with server() as (port, mailbox), pytest.raises(DeliveryError, match="STARTTLS"):
        list(send(parameters(port, security="STARTTLS"), [event()]))
    assert mailbox.mails == []


def test_a_recipient_that_is_refused_is_told_and_the_others_are_not_asked_twice() -> None:
    with server() as (port, mailbox):
        sending = send(parameters(port, recipients="ops@example.org, x@refused.example"), [event()])
        assert next(sending) == [event()]
        with pytest.raises(DeliveryError, match=r"refused x@refused\.example; the others have it"):
            next(sending)
        with pytest.raises(DeliveryError, match=r"refused every recipient: x@refused\.example"):
            list(send(parameters(port, recipients="x@refused.example"), [event()]))
    assert len(mailbox.mails) == 1


def test_a_server_that_talks_nonsense_is_an_error_in_words() -> None:
    with (
        by_hand(says(first=b"HTTP/1.1 400 Bad Request\r\n")) as port,
        pytest.raises(DeliveryError, match="mail server"),
    ):
        list(send(parameters(port), [event()]))


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"recipients": "ops"}, "recipients"),
        ({"recipients": "a@example.org\r\nBcc: b@example.org"}, "recipients"),
        ({"sender": "a@example.org, b@example.org"}, "sender"),
        ({"host": ""}, "host"),
        ({"user_name": "halfpipe"}, "password"),
        ({"password": "x"}, "user_name"),
        ({"user_name": "halfpipe", "password": "x", "security": "NONE"}, "security"),
        ({"gather": 3601}, "gather"),
    ],
)
def test_parameters_that_cannot_work_are_refused_by_name(values: dict[str, Any], name: str) -> None:
    good = {"recipients": "ops@example.org", "sender": "halfpipe@example.org", "host": "mail.example.org"}
    assert set(KIND.clean(good | values)[1]) == {name}
