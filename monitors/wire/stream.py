"""A conversation with a server over TCP or TLS, bounded in time and in bytes; most kinds are one.

A kind gives a coroutine that talks and returns what to say of its success; :func:`converse` connects, ends it when the
response timeout is over (whatever the server drips), and turns every failure into words.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from time import perf_counter
from typing import Final

from monitors import trace, words
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.tls import CertificateError, Tls, context, failure_in_words, handshake_in_words

LINE_LIMIT: Final = 8192  # bytes of one line
TOTAL_LIMIT: Final = 262_144  # bytes read in one probe; nothing that a probe asks for comes near
SHOWN: Final = 80  # characters of an answer in a message
LINGER: Final = 1.0  # seconds
_BUFFER = 32_768  # bytes that asyncio reads ahead, at most twice
_CHUNK = 16_384


class WrongAnswer(Exception):  # noqa: N818 - a verdict about the server, not a fault of the program
    """The server answered, and not as it should; the text is for the operator."""


class Maintenance(Exception):  # noqa: N818 - as WrongAnswer
    """The server answered that it is under maintenance; the text is for the operator."""


class Conversation:
    """An open connection. ``waiting_for`` completes the sentence “connected, …” when the time is over."""

    def __init__(self, spec: ProbeSpec) -> None:
        self.spec = spec
        self.waiting_for = "no answer"
        self.connected = False
        self.received = 0
        self.made_of_secrets = ""  # what is told in a trace instead of bytes that a secret went into
        self._reader = asyncio.StreamReader()
        self._writer: asyncio.StreamWriter | None = None

    async def connect(self, port: int, tls: Tls | None = None) -> None:
        """Connect to ``port`` of the probe address. Raises OSError, ssl.SSLError."""
        family = socket.AF_INET if ip_address(self.spec.address).version == 4 else socket.AF_INET6
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, (self.spec.address, port))
            self.connected = True
            self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=_BUFFER)
        except BaseException as error:
            sock.close()
            trace.note(trace.CONNECT, f"{self.spec.address} port {port}: {words.why(error)}")
            raise
        trace.note(trace.CONNECT, f"{self.spec.address} port {port}: TCP handshake done")
        if tls is not None:
            await self.start_tls(tls)

    async def start_tls(self, tls: Tls) -> None:
        """Shake hands on the open connection. Raises OSError, ssl.SSLError."""
        before, self.waiting_for = self.waiting_for, "no TLS handshake"
        try:
            await self._open().start_tls(context(tls), server_hostname=tls.server_name or None)
        except ssl.SSLError as error:
            trace.note(trace.TLS, failure_in_words(error))
            raise
        if trace.recorder() is not None:
            trace.note(trace.TLS, handshake_in_words(self._open().get_extra_info("ssl_object"), tls))
        self.waiting_for = before

    @property
    def certificate(self) -> bytes:
        """The server's certificate (DER); empty without TLS."""
        tls: ssl.SSLObject | None = self._open().get_extra_info("ssl_object")
        return (tls.getpeercert(binary_form=True) or b"") if tls is not None else b""

    @property
    def protocol(self) -> str:
        """TLS version, such as ``TLSv1.3``; empty without TLS."""
        tls: ssl.SSLObject | None = self._open().get_extra_info("ssl_object")
        return (tls.version() or "") if tls is not None else ""

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self._open().write(data)
        await self._open().drain()
        trace.sent(data, self, self.made_of_secrets)

    async def read(self) -> bytes:
        """What came, at least a byte; empty when the server has closed. Raises WrongAnswer after TOTAL_LIMIT bytes."""
        data = await self._reader.read(_CHUNK)
        if not data:
            trace.note(trace.CLOSED, "by the server")
        return self._counted(data)

    async def read_exactly(self, size: int) -> bytes:
        """``size`` bytes. Raises WrongAnswer when the server closes before, or after TOTAL_LIMIT bytes."""
        try:
            return self._counted(await self._reader.readexactly(size))
        except asyncio.IncompleteReadError as error:
            self._ended(error.partial)
            raise WrongAnswer("connection closed in the middle of an answer") from error

    async def line(self) -> str:
        """A line without its end (bytes outside of UTF-8 replaced). Raises WrongAnswer when there is none."""
        try:
            data = await self._reader.readuntil(b"\n")
        except asyncio.IncompleteReadError as error:
            self._ended(error.partial)
            rest = f" after “{shown(error.partial)}”" if error.partial else f", {self.waiting_for}"
            raise WrongAnswer(f"connection closed by the server{rest}") from error
        except asyncio.LimitOverrunError as error:
            raise WrongAnswer(f"a line of more than {LINE_LIMIT} bytes") from error
        if len(data) > LINE_LIMIT:
            raise WrongAnswer(f"a line of more than {LINE_LIMIT} bytes")
        return self._counted(data).decode(errors="replace").rstrip("\r\n")

    def close(self) -> None:
        """End it in order, with FIN (NetScaler's default); a server that does not take part has LINGER seconds."""
        if self._writer is not None:
            self._writer.close()
            asyncio.get_running_loop().call_later(LINGER, self._writer.transport.abort)

    def abort(self) -> None:
        """End it at once, whatever is still unsent."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _ended(self, partial: bytes) -> None:
        if partial:
            trace.received(partial, self, self.made_of_secrets)
        trace.note(trace.CLOSED, "by the server")

    def _counted(self, data: bytes) -> bytes:
        self.received += len(data)
        if data:
            trace.received(data, self, self.made_of_secrets)
        if self.received > TOTAL_LIMIT:
            raise WrongAnswer(f"more than {TOTAL_LIMIT} bytes of answer")
        return data

    def _open(self) -> asyncio.StreamWriter:
        if self._writer is None:
            raise RuntimeError("not connected")
        return self._writer


Talk = Callable[[Conversation], Awaitable[str]]


async def converse(spec: ProbeSpec, talk: Talk, tls: Tls | None = None) -> ProbeResult:
    """Connect to the probe's port, talk, and tell how it went; any failure of network or server is a result.

    With ``spec.secure`` TLS begins at once, by ``tls`` or, without, with no name and any certificate.
    Raises ValueError when ``spec.address`` is no IP address.
    """
    ip_address(spec.address)
    start = perf_counter()
    conversation = Conversation(spec)
    success = leaving = False
    try:
        async with asyncio.timeout(spec.timeout):
            await conversation.connect(spec.port, (tls or Tls()) if spec.secure else None)
            message = await talk(conversation)
        success = True
    except TimeoutError:  # ours, or the kernel's when it gave up first
        if not conversation.connected:
            return words.no_answer(spec, perf_counter() - start)
        message = f"connected, {conversation.waiting_for} within {spec.timeout:g} s"
    except (WrongAnswer, CertificateError) as error:
        message = str(error)
    except Maintenance as said:
        message, leaving = str(said), True
    except ssl.SSLError as error:
        message = failure_in_words(error)
    except OSError as error:
        if error.errno is not None or not conversation.connected:
            return words.failure(spec, error, perf_counter() - start)
        message = f"connected, closed by the server, {conversation.waiting_for}"  # asyncio's own, in a handshake
    finally:
        if success:
            conversation.close()
        else:
            conversation.abort()
    return ProbeResult(success=success, message=message, duration=perf_counter() - start, leaving=leaving)


def shown(answer: str | bytes) -> str:
    """The beginning of an answer for a message, control characters replaced."""
    text = answer.decode(errors="replace") if isinstance(answer, bytes) else answer
    clean = "".join(one if one.isprintable() else "·" for one in text.strip())
    return clean if len(clean) <= SHOWN else clean[: SHOWN - 1] + "…"
