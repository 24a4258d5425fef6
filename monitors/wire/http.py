"""HTTP/1.1 of probes (RFC 9112), by h11: one request, its answer, and bounds on both."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final

import h11

from monitors.parameters import integer, text
from monitors.spec import ProbeSpec
from monitors.wire.stream import Conversation, WrongAnswer, shown

HEADERS_LIMIT: Final = 16_384  # bytes of status line and headers
BODY_LIMIT: Final = 24_576  # bytes of the body that are looked at; NetScaler's own limit
_METHOD = re.compile(r"[A-Z][A-Z-]{0,19}")
_ALONE = frozenset({"GET", "HEAD", "OPTIONS"})  # methods that may stand without a path, which is / then
_TARGET = re.compile(r"(/|\*|https?://)[\x21-\x7e]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CODES = re.compile(r"\s*(\d{3})\s*(?:-\s*(\d{3})\s*)?")
AGENT: Final = "Halfpipe"

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Response:
    """Status, headers and the beginning of the body; ``cut`` says that there was more of it."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    cut: bool = False

    @property
    def words(self) -> str:
        """``HTTP 503``."""
        return f"HTTP {self.status}"


@dataclass(frozen=True, slots=True)
class Request:
    """One request; ``body`` needs a method that has one."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


def parse_request(text: str) -> tuple[str, str]:
    """Method and target of ``HEAD /index.html``; a target alone is a GET, ``HEAD`` alone asks for ``/``.

    Raises ValueError with a sentence.
    """
    words = text.split()
    if words and words[-1].upper().startswith("HTTP/"):
        words.pop()
    if len(words) == 1 and words[0].startswith("/"):
        words.insert(0, "GET")
    if len(words) == 1 and words[0].upper() in _ALONE:
        words.append("/")
    if len(words) != 2 or not _METHOD.fullmatch(words[0].upper()) or not _TARGET.fullmatch(words[1]):
        raise ValueError(f"“{text}” is no request: a method and a path without spaces, as in “HEAD /”.")
    return words[0].upper(), words[1]


def request_problem(text: str) -> str:
    """What is wrong with a request; empty when nothing is."""
    try:
        parse_request(text)
    except ValueError as error:
        return str(error)
    return ""


def parse_headers(text: str) -> Headers:
    r"""Headers, one a line (or with ``\r\n`` written between, as NetScaler has them). Raises ValueError."""
    found = []
    for line in text.replace("\\r\\n", "\n").splitlines():
        name, colon, value = line.partition(":")
        if not line.strip():
            continue
        if not colon or not _TOKEN.fullmatch(name.strip()) or not value.isprintable():
            raise ValueError(f"“{line}” is no header: write “Name: value”, one on each line.")
        found.append((name.strip(), value.strip()))
    return found


def headers_problem(text: str) -> str:
    """What is wrong with headers; empty when nothing is."""
    try:
        parse_headers(text)
    except ValueError as error:
        return str(error)
    return ""


def parse_codes(text: str) -> list[range]:
    """Ranges of ``200-299, 301``. Raises ValueError with a sentence."""
    ranges = []
    for part in text.replace(";", ",").split(","):
        match = _CODES.fullmatch(part)
        low = int(match[1]) if match else 0
        high = int(match[2] or match[1]) if match else 0
        if not 100 <= low <= high <= 599:
            raise ValueError(f"“{part.strip()}” is no status code: 100 to 599, or a range as in 200-299.")
        ranges.append(range(low, high + 1))
    return ranges


def codes_problem(text: str) -> str:
    """What is wrong with status codes; empty when nothing is."""
    try:
        parse_codes(text)
    except ValueError as error:
        return str(error)
    return ""


def code_problem(code: int) -> str:
    """What is wrong with one status code; empty when nothing is."""
    return "" if code == 0 or 100 <= code <= 599 else f"{code} is no status code: 100 to 599, or 0 for none."


def http_request() -> Any:
    """``http_request``."""
    return text("HEAD /", required=True, check=request_problem, label="HTTP request", help="Method and path.")


def resp_code() -> Any:
    """``resp_code``."""
    return text(
        "200",
        required=True,
        check=codes_problem,
        label="Response codes",
        help="Status codes that pass, such as 200-299, 301.",
    )


def trofs_code() -> Any:
    """``trofs_code``."""
    return integer(
        0,
        low=0,
        high=599,
        check=code_problem,
        label="Maintenance code",
        help="Status code that says the server is under maintenance: the service then takes no new clients (GOING OUT "
        "OF SERVICE). 0: none.",
    )


def custom_headers(host: str = "the VIP") -> Any:
    """``custom_headers``; ``host`` is what is sent as Host without one among them."""
    return text(
        limit=1024,
        multiline=True,
        check=headers_problem,
        help=f"Name: value, one on each line. Without Host, {host} is sent as host.",
    )


def host_of(spec: ProbeSpec, headers: Headers, default_port: int) -> str:
    """The Host header unless one is given: the VIP, whose name nobody told, and the port if it is another."""
    for name, value in headers:
        if name.lower() == "host":
            return value
    host = f"[{spec.vip}]" if ip_address(spec.vip).version == 6 else spec.vip
    return host if spec.port == default_port else f"{host}:{spec.port}"


async def exchange(conversation: Conversation, request: Request, *, body_limit: int = 0) -> Response:
    """Send a request and read its answer, of its body ``body_limit`` bytes at most.

    Raises WrongAnswer when what comes is no HTTP, too long, or ends too early.
    """
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADERS_LIMIT)
    headers = list(request.headers)
    if request.body:
        headers.append(("Content-Length", str(len(request.body))))
    sent = connection.send(h11.Request(method=request.method, target=request.target, headers=headers)) or b""
    if request.body:
        sent += connection.send(h11.Data(data=request.body)) or b""
    sent += connection.send(h11.EndOfMessage()) or b""
    conversation.waiting_for = f"no answer to {request.method} {shown(request.target)}"
    await conversation.send(sent)
    try:
        return await _response(conversation, connection, body_limit)
    except h11.RemoteProtocolError as error:
        raise WrongAnswer(f"connected, no HTTP: {shown(str(error))}") from error


async def _response(conversation: Conversation, connection: h11.Connection, body_limit: int) -> Response:
    status, body, cut, start = 0, bytearray(), False, b""
    headers: tuple[tuple[str, str], ...] = ()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await conversation.read()
            if not data and not status:
                raise WrongAnswer("connected, closed by the server without an answer")
            start = (start + data)[:5]
            if not b"HTTP/".startswith(start[:5]):  # h11 would wait for the end of the headers
                raise WrongAnswer(f"connected, no HTTP: “{shown(data)}”")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers)
            conversation.waiting_for = f"HTTP {status}, but the body is incomplete"
            if not body_limit:
                break
        elif isinstance(event, h11.Data):
            body += event.data[: body_limit - len(body)]
            if len(body) >= body_limit:
                cut = True
                break
        elif isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
            break
    return Response(status, headers, bytes(body), cut)
