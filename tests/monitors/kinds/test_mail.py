"""SMTP against aiosmtpd; POP3 and IMAP against dovecot."""

from __future__ import annotations

import os
import shutil
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import AuthResult, LoginPassword

from tests.monitors.kinds.places import public_folder
from tests.monitors.kinds.servers import (
    HERE,
    LOOPBACK,
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
from tests.monitors.kinds.tracing import texts
from tests.ports import free_port

USER, PASSWORD = "probe", 'p"ä\\ss {word}'
PLAIN_PASSWORD = "secret-word"


def authenticator(_server: object, _session: object, _envelope: object, _way: str, given: object) -> AuthResult:
    right = isinstance(given, LoginPassword) and given == LoginPassword(USER.encode(), PASSWORD.encode())
    return AuthResult(success=right, handled=False)


@pytest.fixture(scope="module")
def smtp(authority: Authority) -> Iterator[int]:
    crt, key = authority.issue("mail.example", end=timedelta(days=90))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, key)
    port = free_port()
    controller = Controller(
        Sink(),
        hostname=LOOPBACK,
        port=port,
        authenticator=authenticator,
        tls_context=context,
        ident="ready",
    )
    controller.start()
    yield port
    controller.stop()


@pytest.fixture(scope="module")
def smtps(authority: Authority) -> Iterator[int]:
    crt, key = authority.issue("mail.example", end=timedelta(days=90))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(crt, key)
    controller = Controller(Sink(), hostname=LOOPBACK, port=free_port(), ssl_context=context, ident="ready")
    controller.start()
    yield controller.port
    controller.stop()


def test_smtp_greets(smtp: int) -> None:
    words = passed(probe("SMTP", smtp))
    assert words.startswith("greeted: 220 ")
    assert words.endswith("ready")


def test_smtp_logs_in_after_starttls(smtp: int) -> None:
    given: dict[str, Any] = {"user_name": USER, "password": PASSWORD}
    assert passed(probe("SMTP", smtp, start_tls=True, **given)).startswith("logged in: 235 ")
    words = failed(probe("SMTP", smtp, start_tls=True, **(given | {"password": "no"})))
    assert words.startswith("AUTH PLAIN: 535 ")
    assert "perhaps only after STARTTLS" in failed(probe("SMTP", smtp, **given))


def test_the_trace_hides_what_is_encoded_with_the_password(smtp: int) -> None:
    found = trace("SMTP", smtp, start_tls=True, user_name=USER, password=PASSWORD)
    assert texts(found, "TLS").startswith("TLSv1.3, TLS_AES_")
    assert "certificate of CN=mail.example, certificate ends in 89 days" in texts(found, "TLS")
    assert "AUTH PLAIN •••\\r\\n" in texts(found, "sent")  # RFC 4616: user and password in one


def test_smtp_through_tls_from_the_start(smtps: int) -> None:
    assert passed(probe("SMTP", smtps, secure=True)).startswith("greeted: 220 ")
    assert failed(probe("SMTP", smtps, 0.4)) == "connected, no banner within 0.4 s"


def test_smtp_logs_in_by_login_where_plain_is_not_offered() -> None:
    answers = (b"250-me\r\n250 AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 in\r\n")
    with by_hand(says(*answers, first=b"220 ready\r\n")) as port:
        assert passed(probe("SMTP", port, user_name="a", password="b")) == "logged in: 235 in"


def test_the_trace_of_auth_login_hides_the_password_alone() -> None:
    answers = (b"250-me\r\n250 AUTH LOGIN\r\n", b"334 VXNlcm5hbWU6\r\n", b"334 UGFzc3dvcmQ6\r\n", b"235 in\r\n")
    with by_hand(says(*answers, first=b"220 ready\r\n")) as port:
        found = trace("SMTP", port, user_name="somebody", password=PLAIN_PASSWORD)
    assert texts(found, "sent").splitlines()[2:4] == ["AUTH LOGIN\\r\\n", ""]
    assert "c29tZWJvZHk=\\r\\n" in texts(found, "sent")
    assert "\n•••\\r\\n" in texts(found, "sent")


def test_smtp_that_refuses_says_why() -> None:
    with by_hand(says(first=b"554 no service\r\n")) as port:
        assert failed(probe("SMTP", port)) == "banner “554 no service”, wanted 220"
    with by_hand(says(b"502 what?\r\n", first=b"220 ready\r\n")) as port:
        assert failed(probe("SMTP", port)) == "EHLO halfpipe.invalid: 502 what?"


DOVECOT = """
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
protocols = imap pop3
listen = {at.address}, {at.address6}
ssl = yes
ssl_cert = <{crt}
ssl_key = <{key}
disable_plaintext_auth = no
auth_mechanisms = plain
auth_failure_delay = 0
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
mail_uid = nobody
mail_gid = nogroup
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = {imaps}
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = {pop3s}
  }}
}}
# Without the penalty for failed logins, which would slow down the tests after one.
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  client_limit = 100
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/users
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={folder}/mail/%u
}}
"""


@dataclass(frozen=True)
class Mail:
    imap: int
    imaps: int
    pop3: int
    pop3s: int


@contextmanager
def dovecot_at(at: Place, folder: Path, authority: Authority) -> Iterator[Mail]:
    """Dovecot with one user."""
    if os.geteuid() != 0:
        pytest.skip("dovecot needs root")
    (folder / "mail").mkdir(mode=0o777)
    (folder / "mail").chmod(0o777)
    crt, key = authority.issue("mail.example", end=timedelta(days=90))
    (folder / "users").write_text(f"{USER}:{{PLAIN}}{PLAIN_PASSWORD}\n")
    (folder / "users").chmod(0o644)
    ports = Mail(free_port(), free_port(), free_port(), free_port())
    configuration = folder / "dovecot.conf"
    configuration.write_text(
        DOVECOT.format(
            at=at,
            folder=folder,
            crt=crt,
            key=key,
            imap=ports.imap,
            imaps=ports.imaps,
            pop3=ports.pop3,
            pop3s=ports.pop3s,
        )
    )
    with process(["dovecot", "-F", "-c", str(configuration)], ports.imap, at=at):
        with at.entered():
            _await_logins(at, ports)
        yield ports


def _await_logins(at: Place, mail: Mail) -> None:
    """It listens before those of its processes are ready that know the users."""
    end = time.monotonic() + 20
    given: dict[str, Any] = {"user_name": USER, "password": PLAIN_PASSWORD}
    while not (last := probe("IMAP", mail.imap, address=at.address, **given)).success:
        assert time.monotonic() < end, last.message
        time.sleep(0.1)


@pytest.fixture(scope="module")
def mail(public: Path, authority: Authority) -> Iterator[Mail]:
    with dovecot_at(HERE, public, authority) as ports:
        yield ports


POSTFIX = """compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
inet_interfaces = {at.address}, {at.address6}
inet_protocols = all
myhostname = mail.example
mydestination =
local_recipient_maps =
alias_maps =
maillog_file = /dev/stdout
smtpd_tls_security_level = may
smtpd_tls_cert_file = {crt}
smtpd_tls_key_file = {key}
smtpd_client_restrictions = permit
"""
MASTER = """{port} inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
rewrite unix - - n - - trivial-rewrite
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
"""


@contextmanager
def postfix_at(at: Place, folder: Path, authority: Authority) -> Iterator[int]:
    """Postfix's SMTP server alone: nothing that would deliver."""
    if os.geteuid() != 0:
        pytest.skip("postfix needs root")
    if shutil.which("/usr/lib/postfix/sbin/master") is None:
        pytest.skip("postfix is not installed (`make test` installs it)")
    crt, key = authority.issue("mail.example", end=timedelta(days=90))
    etc, port = folder / "etc", free_port()
    for name in ("etc", "data", "queue", *(f"queue/{one}" for one in ("pid", "private", "public"))):
        (folder / name).mkdir()
    for name in ("data", "queue/private", "queue/public"):
        shutil.chown(folder / name, "postfix")
    (etc / "main.cf").write_text(POSTFIX.format(folder=folder, at=at, crt=crt, key=key))
    (etc / "master.cf").write_text(MASTER.format(port=port))
    with process(["/usr/lib/postfix/sbin/master", "-c", str(etc), "-d"], port, at=at):
        yield port


@pytest.fixture(scope="module")
def postfix(authority: Authority) -> Iterator[int]:
    with public_folder() as folder, postfix_at(HERE, folder, authority) as port:
        yield port


def test_smtp_greets_postfix_with_and_without_tls(postfix: int) -> None:
    assert passed(probe("SMTP", postfix)).startswith("greeted: 220 mail.example ESMTP Postfix")
    assert passed(probe("SMTP", postfix, start_tls=True)).startswith("greeted: 220 mail.example")
    words = failed(probe("SMTP", postfix, user_name="a", password="b"))
    assert words.startswith("the server offers neither AUTH PLAIN nor AUTH LOGIN")


def test_pop3_greets_and_logs_in(mail: Mail) -> None:
    assert passed(probe("POP3", mail.pop3)).startswith("greeted: +OK")
    given: dict[str, Any] = {"user_name": USER, "password": PLAIN_PASSWORD}
    assert passed(probe("POP3", mail.pop3, 15, **given)).startswith("logged in: +OK")
    assert passed(probe("POP3", mail.pop3s, 15, secure=True, **given)).startswith("logged in: +OK")


@pytest.mark.parametrize("kind", ["POP3", "IMAP"])
def test_the_trace_of_a_login_hides_the_password(mail: Mail, kind: str) -> None:
    port = mail.pop3 if kind == "POP3" else mail.imap
    found = trace(kind, port, 15, user_name=USER, password=PLAIN_PASSWORD)
    assert found.passed, found.message
    assert "•••" in texts(found, "sent")
    assert texts(found, "received").count("OK") >= 2


def test_pop3_with_a_wrong_password_says_so_without_it(mail: Mail) -> None:
    words = failed(probe("POP3", mail.pop3, 15, user_name=USER, password="hunter2"))
    assert words.startswith("PASS: “-ERR")
    assert "hunter2" not in words


def test_imap_greets_logs_in_and_looks_at_a_mailbox(mail: Mail) -> None:
    assert passed(probe("IMAP", mail.imap)).startswith("greeted: * OK")
    given: dict[str, Any] = {"user_name": USER, "password": PLAIN_PASSWORD}
    assert passed(probe("IMAP", mail.imap, 15, **given)).startswith("logged in: OK")
    assert passed(probe("IMAP", mail.imaps, 15, secure=True, mailbox="INBOX", **given)).startswith("INBOX: OK")
    assert failed(probe("IMAP", mail.imap, 15, mailbox="Gone", **given)).startswith("EXAMINE: NO ")


def test_imap_with_a_wrong_password_says_so_without_it(mail: Mail) -> None:
    words = failed(probe("IMAP", mail.imap, 15, user_name=USER, password="hunter2"))
    assert words.startswith("LOGIN: NO ")
    assert "hunter2" not in words


def test_imap_that_says_goodbye_fails() -> None:
    with by_hand(says(first=b"* BYE overloaded\r\n")) as port:
        assert failed(probe("IMAP", port)) == "banner “* BYE overloaded”, wanted * OK"
    with by_hand(says(b"* BYE later\r\n", first=b"* OK\r\n")) as port:
        assert failed(probe("IMAP", port, user_name="a", password="b")) == "the server said * BYE later"
