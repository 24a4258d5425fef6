"""LDAP against OpenLDAP's slapd, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given as given_by
from hypothesis import settings
from hypothesis import strategies as st

from monitors.kinds.ldap.probe import _message_from
from monitors.registry import KINDS
from monitors.spec import ProbeResult
from monitors.wire.stream import Conversation, WrongAnswer
from tests.monitors.kinds.servers import (
    HERE,
    Authority,
    Place,
    by_hand,
    drip,
    failed,
    flood,
    hang_up,
    passed,
    probe,
    process,
    silent,
    spec,
    trace,
)
from tests.monitors.kinds.tracing import steps, texts
from tests.ports import free_port

BASE, ADMIN, PASSWORD = "dc=example,dc=test", "cn=admin,dc=example,dc=test", "s3cret"
CONFIGURATION = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
modulepath /usr/lib/ldap
moduleload back_mdb
TLSCertificateFile {crt}
TLSCertificateKeyFile {key}
database mdb
suffix {base}
rootdn {admin}
rootpw {password}
directory {folder}/data
access to dn.subtree="ou=closed,{base}" by * none
access to * by * read
"""
ENTRIES = f"""dn: {BASE}
objectClass: dcObject
objectClass: organization
o: Test
dc: example

dn: cn=somebody,{BASE}
objectClass: person
cn: somebody
sn: Body
telephoneNumber: 1

dn: cn=other,{BASE}
objectClass: person
cn: other
sn: Body
"""


@dataclass(frozen=True)
class Slapd:
    plain: int
    secure: int


@contextmanager
def slapd_at(at: Place, folder: Path, authority: Authority) -> Iterator[Slapd]:
    """slapd, with a plain port that knows STARTTLS and one with TLS."""
    if shutil.which("/usr/sbin/slapd") is None:
        pytest.skip("slapd is not installed (`make test` installs it)")
    ports = Slapd(free_port(), free_port())
    (folder / "data").mkdir()
    crt, key = authority.issue("ldap.example", end=timedelta(days=90))
    configuration, ldif = folder / "slapd.conf", folder / "entries.ldif"
    configuration.write_text(
        CONFIGURATION.format(folder=folder, crt=crt, key=key, base=BASE, admin=ADMIN, password=PASSWORD)
    )
    ldif.write_text(ENTRIES)
    subprocess.run(["/usr/sbin/slapadd", "-f", configuration, "-l", ldif], check=True, capture_output=True, timeout=30)
    urls = (
        f"ldap://{at.address}:{ports.plain}/ ldap://[{at.address6}]:{ports.plain}/ ldaps://{at.address}:{ports.secure}/"
    )
    with process(["/usr/sbin/slapd", "-d", "0", "-f", str(configuration), "-h", urls], ports.plain, at=at):
        yield ports


@pytest.fixture(scope="module")
def slapd(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Slapd]:
    with slapd_at(HERE, tmp_path_factory.mktemp("slapd"), authority) as ports:
        yield ports


def ask(port: int, timeout: float = 2, **given: Any) -> ProbeResult:
    result = probe("LDAP", port, timeout, **given)
    assert PASSWORD not in repr(result)
    return result


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_an_anonymous_bind_and_a_search_pass(slapd: Slapd, address: str) -> None:
    assert passed(ask(slapd.plain, address=address)) == "bound anonymously"
    words = passed(ask(slapd.plain, address=address, base_dn=BASE, filter="(cn=some*)"))
    assert words == f"bound anonymously, found cn=somebody,{BASE}"


def test_a_bind_with_a_password_passes(slapd: Slapd) -> None:
    words = passed(ask(slapd.plain, bind_dn=ADMIN, password=PASSWORD, base_dn=BASE))
    assert words == f"bound as {ADMIN}, found {BASE}"


def test_the_trace_tells_bind_search_and_answers(slapd: Slapd) -> None:
    found = trace("LDAP", slapd.plain, bind_dn=ADMIN, password=PASSWORD, base_dn=BASE)
    assert steps(found)[:5] == ["connect", "bind", "sent", "received", "answer"]
    assert f"{ADMIN}\\x80\\x06•••" in texts(found, "sent")
    assert texts(found, "answer") == f"bind: success (0)\nentry {BASE}\nsearch below {BASE}: sizeLimitExceeded (4)"


def test_a_search_that_matches_several_entries_passes(slapd: Slapd) -> None:
    assert passed(ask(slapd.plain, base_dn=BASE, filter="(objectClass=person)"))


def test_a_wrong_password_is_told_without_it(slapd: Slapd) -> None:
    words = failed(ask(slapd.plain, bind_dn=ADMIN, password=PASSWORD + "-wrong"))
    assert words == "bind: invalidCredentials (49)"


def test_an_entry_must_match_filter_and_attribute(slapd: Slapd) -> None:
    words = failed(ask(slapd.plain, base_dn=BASE, filter="(cn=nobody)"))
    assert words == f"bound, but no entry below {BASE} matches (cn=nobody)"
    assert passed(ask(slapd.plain, base_dn=BASE, filter="(sn=Body)", attribute="telephoneNumber")).endswith(
        f"found cn=somebody,{BASE}"
    )
    assert "no entry below" in failed(ask(slapd.plain, base_dn=BASE, filter="(cn=other)", attribute="telephoneNumber"))


def test_a_base_that_is_not_there_is_told(slapd: Slapd) -> None:
    words = failed(ask(slapd.plain, base_dn=f"ou=gone,{BASE}"))
    assert words == f"search below ou=gone,{BASE}: noSuchObject (32)"


def test_ldaps_works_and_plain_ldap_to_its_port_does_not(slapd: Slapd) -> None:
    assert passed(ask(slapd.secure, secure=True, base_dn=BASE))
    assert failed(ask(slapd.secure, 0.5, base_dn=BASE))


def test_starttls_begins_tls_before_the_bind(slapd: Slapd) -> None:
    words = passed(ask(slapd.plain, start_tls=True, bind_dn=ADMIN, password=PASSWORD, base_dn=BASE))
    assert words == f"bound as {ADMIN}, found {BASE}"
    assert passed(ask(slapd.secure, secure=True, start_tls=True)) == "bound anonymously"  # there already


def test_a_server_without_starttls_says_so() -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(bytes.fromhex("300c02010478070a010204000400"))
        silent(connection)

    with by_hand(refuse) as port:
        assert failed(ask(port, start_tls=True)) == "STARTTLS: protocolError (2)"


def test_a_refused_connection_fails_at_once() -> None:
    assert failed(ask(free_port(), 5)) == "connection refused"


@pytest.mark.parametrize("handler", [silent, drip, flood, hang_up])
def test_misbehaving_servers_fail_in_time(handler: Callable[[socket.socket], None]) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        words = failed(ask(port, 0.4, base_dn=BASE))
        assert perf_counter() - start < 4
    if handler is silent:
        assert words == "connected, no answer to the bind within 0.4 s"


def test_long_messages_and_unasked_ones_fail() -> None:
    def says(answer: bytes) -> Callable[[socket.socket], None]:
        def handle(connection: socket.socket) -> None:
            connection.recv(1000)
            connection.sendall(answer)
            silent(connection)

        return handle

    for answer, words in (
        (b"\x30\x84\x7f\xff\xff\xff", "a message of more than 16384 bytes"),
        (b"\x30\x80\x00\x00", "answered, but what came is no LDAP message"),
        (b"220 ready\r\n" * 9, "answered, but what came is no LDAP message"),
        (bytes.fromhex("300c02010961070a010004000400"), "answered another request than the one that was sent"),
        (bytes.fromhex("300c02010078070a013404000400"), "the server ends the connection: unavailable (52)"),
    ):
        with by_hand(says(answer)) as port:
            assert failed(ask(port, 0.5)) == words


@given_by(data=st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_decoder_raise_anything_else(data: bytes) -> None:
    async def feed() -> None:
        conversation = Conversation(spec("LDAP", 389))
        conversation._reader.feed_data(b"\x30" + bytes([len(data)]) + data)
        conversation._reader.feed_eof()
        try:
            await _message_from(conversation, 1)
        except WrongAnswer as error:
            assert str(error)  # noqa: PT017 - not raising is fine too

    asyncio.run(feed())


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(spec("LDAP", 389, bind_dn=ADMIN, password=PASSWORD))


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"filter": "(cn=a"}, {"filter"}),
        ({"filter": "cn=a"}, {"filter"}),
        ({"base_dn": "nonsense"}, {"base_dn"}),
        ({"attribute": "a b"}, {"attribute"}),
        ({"attribute": "cn)(x=y"}, {"attribute"}),
        ({"attribute": "cn"}, {"base_dn"}),
        ({"bind_dn": ADMIN}, {"password"}),
        ({"password": PASSWORD}, {"bind_dn"}),
    ],
)
def test_wrong_parameters_are_refused(given: dict[str, str], names: set[str]) -> None:
    problems = KINDS["LDAP"].clean(given)[1]
    assert problems.keys() == names
    assert PASSWORD not in str(problems)
