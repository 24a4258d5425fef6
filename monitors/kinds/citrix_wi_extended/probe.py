"""CITRIX-WI-EXTENDED: fetch the site's page, fill in its login form, and see what follows, as a browser does.

Redirections are followed by path alone: every request goes to the probe address, hence to the same server.
"""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import urlencode, urljoin, urlsplit

from monitors.kinds.citrix_wi_extended.kind import Parameters
from monitors.kinds.http.probe import tls_of
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire import http
from monitors.wire.form import Form, login_form
from monitors.wire.stream import Conversation, WrongAnswer, converse, shown
from monitors.wire.tls import Tls

PAGE_LIMIT: Final = 65_536  # bytes of a page
_REQUESTS_LIMIT: Final = 10  # of one login
_REDIRECTIONS: Final = {301, 302, 303, 307, 308}
_COOKIES_LIMIT: Final = 50


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)
    tls = tls_of(given.custom_headers)

    async def talk(conversation: Conversation) -> str:
        return await _Browser(conversation, given, tls).login()

    return await converse(spec, talk, tls)


class _Browser:
    """One login; the first request uses the conversation that is open, each other one a connection of its own."""

    def __init__(self, conversation: Conversation, given: Parameters, tls: Tls) -> None:
        self._first: Conversation | None = conversation
        self._outer = conversation  # whose waiting_for is told when the time is over
        self._given = given
        self._tls = tls if conversation.spec.secure else None
        self._cookies: dict[str, str] = {}
        self._requests = 0

    async def login(self) -> str:
        """Raises WrongAnswer, OSError, ssl.SSLError."""
        path, page = await self._page("GET", self._given.site_path)
        form = login_form(page)
        if form is None:
            raise WrongAnswer(f"{shown(path)} has no login form")
        target, body = _submission(path, form, self._given)
        path, page = await self._page(form.method, target, body)
        if login_form(page) is not None:
            raise WrongAnswer(f"login refused: {shown(path)} asks for the password again")
        return f"logged in, then {shown(path)}"

    async def _page(self, method: str, target: str, body: str = "") -> tuple[str, str]:
        """Path and text of the page after all redirections."""
        while True:
            response = await self._request(method, target, body)
            if response.status not in _REDIRECTIONS:
                break
            location = next((value for name, value in response.headers if name == "location"), "")
            if not location:
                raise WrongAnswer(f"{response.words} without a place to go to")
            if response.status not in {307, 308}:
                method, body = "GET", ""
            target = _path(urljoin(target, location))
        if response.status != 200:
            raise WrongAnswer(f"{shown(target)}: {response.words}, wanted 200")
        return target.partition("?")[0], response.body.decode(errors="replace")

    async def _request(self, method: str, target: str, body: str) -> http.Response:
        self._requests += 1
        if self._requests > _REQUESTS_LIMIT:
            raise WrongAnswer(f"more than {_REQUESTS_LIMIT} requests: redirections without end?")
        conversation = self._first or Conversation(self._outer.spec)
        try:
            if self._first is None:
                self._outer.waiting_for = f"no connection for {method} {shown(target)}"
                await conversation.connect(self._outer.spec.port, self._tls)
            self._outer.waiting_for = f"no complete answer to {method} {shown(target)}"
            response = await http.exchange(conversation, self._prepared(method, target, body), body_limit=PAGE_LIMIT)
        finally:
            if self._first is None:
                conversation.abort()
            self._first = None
        self._remember(response)
        return response

    def _prepared(self, method: str, target: str, body: str) -> http.Request:
        spec = self._outer.spec
        own = http.parse_headers(self._given.custom_headers)
        headers = [("Host", http.host_of(spec, own, 443 if spec.secure else 80))]
        headers += [one for one in own if one[0].lower() != "host"]
        headers += [("User-Agent", http.AGENT), ("Accept", "text/html"), ("Connection", "close")]
        if self._cookies:
            headers.append(("Cookie", "; ".join(f"{name}={value}" for name, value in self._cookies.items())))
        if body:
            headers.append(("Content-Type", "application/x-www-form-urlencoded"))
        return http.Request(method, target, tuple(headers), body.encode())

    def _remember(self, response: http.Response) -> None:
        for name, value in response.headers:
            if name != "set-cookie":
                continue
            try:
                found = SimpleCookie(value)
            except CookieError:
                continue
            for cookie, morsel in found.items():
                if len(self._cookies) < _COOKIES_LIMIT and _is_sendable(cookie + morsel.coded_value):
                    self._cookies[cookie] = morsel.coded_value


def _is_sendable(text: str) -> bool:
    return text.isascii() and text.isprintable() and not set(text) & {" ", ";", ","}


def _submission(path: str, form: Form, given: Parameters) -> tuple[str, str]:
    """Target and body of the filled form. Raises WrongAnswer for a form that would put the password into the path."""
    if form.method != "POST":
        raise WrongAnswer(f"the login form of {shown(path)} would send the password in the address (GET)")
    filled = form.filled(given.user_name, given.password, given.domain)
    return _path(urljoin(path, form.action or path)), urlencode(filled)


def _path(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise WrongAnswer(f"“{shown(url)}” is no place to go to") from error
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.startswith("/") or not path.isascii() or not path.isprintable() or " " in path:
        raise WrongAnswer(f"“{shown(url)}” is no place to go to")
    return path
