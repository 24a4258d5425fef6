"""CITRIX-WI-EXTENDED against a site with the same kind of login, and against servers that misbehave.

Citrix's Web Interface cannot be had; its login is such a form: hidden fields, cookies, a redirection.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter
from typing import Any
from urllib.parse import parse_qs

import pytest

from monitors.kinds.citrix_wi_extended.kind import Parameters
from monitors.registry import KINDS
from monitors.spec import ProbeResult
from monitors.wire.form import login_form
from tests.monitors.kinds import login_site
from tests.monitors.kinds.servers import (
    HERE,
    LOOPBACK,
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

PASSWORD = "s3cret+ä&"
FORM = """<html><form action="/search"><input name=q></form>
<form method="post" action="login.aspx?x=1"><input type=hidden name=token value="t&amp;1">
<input name="user"><input type="password" name="password"><input type=text name=domain>
<input type=checkbox name=remember><input type=submit name=go value=Go></form>"""


class Site(BaseHTTPRequestHandler):
    """A site as Citrix's: it needs the session's cookie and the hidden field."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def answer(self, status: int, text: str = "", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        body = text.encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        cookies = self.headers.get("Cookie", "")
        if self.path == "/Citrix/XenApp/":
            self.answer(302, Location="http://portal.example/Citrix/XenApp/auth/login.aspx")
        elif self.path == "/Citrix/XenApp/auth/login.aspx":
            self.answer(200, FORM, Set_Cookie="session=one; Path=/; HttpOnly")
        elif self.path == "/Citrix/XenApp/site/default.aspx" and "login=yes" in cookies and "session=one" in cookies:
            self.answer(200, "<h1>Applications</h1>")
        elif self.path == "/loop":
            self.answer(302, Location="/loop")
        elif self.path == "/plain":
            self.answer(200, "no form here")
        elif self.path == "/get":
            self.answer(200, "<form><input name=u><input type=password name=p></form>")
        else:
            self.answer(404)

    def do_POST(self) -> None:
        given = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode(), keep_blank_values=True)
        wanted = {"token": ["t&1"], "user": ["halfpipe"], "password": [PASSWORD], "domain": ["corp"], "go": ["Go"]}
        if self.path != "/Citrix/XenApp/auth/login.aspx?x=1" or "session=one" not in self.headers.get("Cookie", ""):
            self.answer(400)
        elif given == wanted:
            self.answer(302, Location="../site/default.aspx", Set_Cookie="login=yes")
        else:
            self.answer(200, FORM)


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    with ThreadingHTTPServer((LOOPBACK, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join(5)


@contextmanager
def login_site_at(at: Place) -> Iterator[int]:
    """A site with Django's login."""
    port = free_port()
    command = [sys.executable, "-m", "tests.monitors.kinds.login_site", at.address, at.address6, str(port)]
    with process(command, port, at=at):
        yield port


@pytest.fixture(scope="module")
def django_site() -> Iterator[int]:
    with login_site_at(HERE) as port:
        yield port


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_a_site_with_the_login_of_django_lets_in(django_site: int, address: str) -> None:
    def login(password: str) -> ProbeResult:
        given: dict[str, Any] = {"site_path": "/", "user_name": login_site.USER, "password": password}
        return probe("CITRIX-WI-EXTENDED", django_site, 5, address=address, **given)

    assert passed(login(login_site.PASSWORD)) == "logged in, then /"
    words = failed(login("hunter2"))
    assert words == "login refused: /login/ asks for the password again"


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with serving(Site) as port:
        yield port


def login(port: int, timeout: float = 2, **given: Any) -> ProbeResult:
    everything = {"user_name": "halfpipe", "password": PASSWORD, "domain": "corp", **given}
    result = probe("CITRIX-WI-EXTENDED", port, timeout, **everything)
    assert "s3cret" not in repr(result)
    return result


def test_a_login_passes_through_redirections_cookies_and_hidden_fields(site: int) -> None:
    assert passed(login(site)) == "logged in, then /Citrix/XenApp/site/default.aspx"


def test_a_wrong_password_user_or_domain_is_refused(site: int) -> None:
    for name, value in (("password", "s3cret"), ("user_name", "other"), ("domain", "")):
        given: dict[str, Any] = {name: value}
        words = failed(login(site, **given))
        assert words == "login refused: /Citrix/XenApp/auth/login.aspx asks for the password again"


def test_the_trace_hides_the_password_in_the_form(site: int) -> None:
    found = trace("CITRIX-WI-EXTENDED", site, user_name="halfpipe", password=PASSWORD, domain="corp")
    assert steps(found).count("connect") == 4
    assert "password=•••&domain=corp" in texts(found, "sent")


def test_pages_that_are_no_login_are_told(site: int) -> None:
    assert failed(login(site, site_path="/plain")) == "/plain has no login form"
    assert failed(login(site, site_path="/gone")) == "/gone: HTTP 404, wanted 200"
    assert failed(login(site, site_path="/loop")) == "more than 10 requests: redirections without end?"
    assert failed(login(site, site_path="/get")).startswith("the login form of /get would send the password in the ")


def test_a_refused_connection_fails_at_once() -> None:
    assert failed(login(free_port(), 5)) == "connection refused"


@pytest.mark.parametrize("handler", [silent, drip, flood, hang_up])
def test_misbehaving_servers_fail_in_time(handler: Callable[[socket.socket], None]) -> None:
    with by_hand(handler) as port:
        start = perf_counter()
        words = failed(login(port, 0.4))
        assert perf_counter() - start < 4
    if handler is silent:
        assert words == "connected, no answer to GET /Citrix/XenApp/ within 0.4 s"


def test_a_site_that_is_slow_at_the_second_step_fails_in_time() -> None:
    class Slow(Site):
        def do_POST(self) -> None:
            threading.Event().wait(1)

    with serving(Slow) as port:
        words = failed(login(port, 0.4))
    assert words == "connected, no complete answer to POST /Citrix/XenApp/auth/login.aspx?x=1 within 0.4 s"


def test_the_login_form_is_found_among_others() -> None:
    form = login_form(FORM)
    assert form is not None
    assert (form.method, form.action, form.password) == ("POST", "login.aspx?x=1", "password")
    assert login_form("<form><input name=a></form>") is None
    assert login_form("<input type=password name=p>") is None
    assert login_form(FORM + "<![nonsense[") is not None


def test_the_password_is_in_no_representation() -> None:
    given: dict[str, Any] = {"user_name": "u", "password": PASSWORD}
    assert "s3cret" not in repr(spec("CITRIX-WI-EXTENDED", 80, **given))
    assert "s3cret" not in repr(Parameters(**given))


def test_wrong_parameters_are_refused() -> None:
    problems = KINDS["CITRIX-WI-EXTENDED"].clean({"site_path": "no path", "custom_headers": "x"})[1]
    assert problems.keys() == {"site_path", "user_name", "password", "custom_headers"}
