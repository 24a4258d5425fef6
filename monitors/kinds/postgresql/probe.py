"""POSTGRESQL: log in and run a query over the probe path, by psycopg's interface to libpq.

libpq never blocks here: each step says which way of the socket to wait for, so the deadline ends it anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import struct
from functools import partial
from ipaddress import ip_address
from time import perf_counter
from typing import Final

from psycopg import pq
from psycopg.conninfo import make_conninfo
from psycopg.errors import OperationalError

from monitors import trace, words
from monitors.kinds.postgresql.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.sql import rows_in_words
from monitors.wire.stream import TOTAL_LIMIT, WrongAnswer, shown

# linux/tcp.h, struct tcp_info: tcpi_bytes_received.
_TCP_INFO_SIZE, _BYTES_RECEIVED = 136, struct.Struct("@Q")
_RECEIVED_AT: Final = 128
# What libpq puts before the reason.
_PREFIX = re.compile(r'^connection to server at "[^"]*"(?: \([^)]*\))?, port \d+ failed: ')
_PROGRESS: Final = {
    pq.ConnStatus.MADE: "TCP handshake done",
    pq.ConnStatus.SSL_STARTUP: "asked for TLS",
    pq.ConnStatus.AWAITING_RESPONSE: "startup message sent",
    pq.ConnStatus.AUTH_OK: "password accepted",
}
_ERRNOS: Final = (
    errno.ECONNREFUSED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EACCES,
    errno.EPERM,
    errno.EINVAL,
    errno.ENOBUFS,
    errno.EADDRNOTAVAIL,
    errno.EMFILE,
    errno.ENETDOWN,
)


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    ip_address(spec.address)
    given = read(Parameters, spec)
    start = perf_counter()
    session: _Session | None = None
    success = False
    try:
        async with asyncio.timeout(spec.timeout):
            session = _Session(spec, given)
            await session.login()
            message = await session.ask(given.sql_query)
        success = True
    except TimeoutError:
        if session is None or not session.connected:
            return words.no_answer(spec, perf_counter() - start)
        message = f"connected, {session.waiting_for} within {spec.timeout:g} s"
    except WrongAnswer as error:
        message = str(error)
    except OSError as error:
        return words.failure(spec, error, perf_counter() - start)
    finally:
        if session is not None:
            session.close()
    return ProbeResult(success=success, message=message, duration=perf_counter() - start)


class _Session:
    """One connection; :meth:`close` must be called."""

    def __init__(self, spec: ProbeSpec, given: Parameters) -> None:
        self.waiting_for = "no answer to the login"
        self.connected = False
        self._pg = pq.PGconn.connect_start(_conninfo(spec, given))
        self._pg.notice_handler = _ignore
        self._told = pq.ConnStatus.STARTED

    async def login(self) -> None:
        """Raises WrongAnswer, OSError."""
        if self._pg.status == pq.ConnStatus.BAD:
            raise self._failure()
        wanted = pq.PollingStatus.WRITING
        while wanted != pq.PollingStatus.OK:
            await self._wait(writing=wanted == pq.PollingStatus.WRITING)
            wanted = pq.PollingStatus(self._pg.connect_poll())
            if wanted == pq.PollingStatus.FAILED:
                raise self._failure()
            self.connected = self.connected or self._pg.status not in {pq.ConnStatus.STARTED, pq.ConnStatus.NEEDED}
            self._check_received()
            self._tell_progress()
        self._pg.nonblocking = 1
        version = self._pg.server_version
        tls = "through TLS" if self._pg.ssl_in_use else "without TLS"
        trace.note("login", f"accepted by PostgreSQL {version // 10_000}.{version % 10_000}, {tls}")

    async def ask(self, sql: str) -> str:
        """Run a query; returns what to say of it. Raises WrongAnswer, OSError."""
        self.waiting_for = "logged in, no answer to the query"
        try:
            trace.note("query", sql)
            self._pg.send_query(sql.encode())
            while self._pg.flush():
                await self._wait(writing=True)
            message = ""
            while (result := await self._result()) is not None:
                trace.note("answer", partial(_told, result))
                message = self._verdict(result)  # of several statements, the last one's
        except OperationalError as error:
            raise WrongAnswer(f"logged in, {shown(str(error))}") from error
        version = self._pg.server_version
        return f"PostgreSQL {version // 10_000}.{version % 10_000}, {message}"

    def _tell_progress(self) -> None:
        """What the library is about now, each once; what it sends and reads is known to it alone."""
        status = pq.ConnStatus(self._pg.status)
        if status != self._told and status in _PROGRESS:
            trace.note("libpq", _PROGRESS[status])
        self._told = status

    def close(self) -> None:
        """Say goodbye if there is a connection, and close it; never blocks."""
        self._pg.finish()

    async def _result(self) -> pq.abc.PGresult | None:
        while self._pg.is_busy():
            await self._wait(writing=False)
            self._pg.consume_input()
            self._check_received()
        return self._pg.get_result()

    def _verdict(self, result: pq.abc.PGresult) -> str:
        if result.status == pq.ExecStatus.COMMAND_OK:
            return f"query succeeded ({(result.command_status or b'').decode(errors='replace')})"
        if result.status == pq.ExecStatus.TUPLES_OK:
            if not result.ntuples:
                return "query succeeded, no rows"
            first = [_text(result.get_value(0, column)) for column in range(result.nfields)]
            return rows_in_words(result.ntuples, first)
        if result.status in {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH}:
            raise WrongAnswer("logged in, but COPY is no query for a check")
        said = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
        code = result.error_field(pq.DiagnosticField.SQLSTATE)
        raise WrongAnswer(f"logged in, query failed: {shown(said)}{f' ({code.decode()})' if code else ''}")

    async def _wait(self, *, writing: bool) -> None:
        """Until the socket, which may be another one each time, can be used."""
        loop = asyncio.get_running_loop()
        descriptor = self._pg.socket
        ready = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        if writing:
            loop.add_writer(descriptor, wake)
        else:
            loop.add_reader(descriptor, wake)
        try:
            await ready
        finally:
            if writing:
                loop.remove_writer(descriptor)
            else:
                loop.remove_reader(descriptor)

    def _check_received(self) -> None:
        """The library reads a little at each step; what came in all is known by the kernel."""
        with socket.socket(fileno=os.dup(self._pg.socket)) as sock:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
        if len(info) == _TCP_INFO_SIZE and _BYTES_RECEIVED.unpack_from(info, _RECEIVED_AT)[0] > TOTAL_LIMIT:
            raise WrongAnswer(f"more than {TOTAL_LIMIT} bytes of answer")

    def _failure(self) -> Exception:
        """Why there is no connection: an OSError of the network, or what the server said."""
        text = _PREFIX.sub("", self._pg.get_error_message().strip())
        for number in _ERRNOS:
            if text.startswith(os.strerror(number)):
                return OSError(number, os.strerror(number))
        first = text.partition("\n")[0].strip()
        return WrongAnswer(f"login: {shown(first)}" if self.connected else shown(first))


def _conninfo(spec: ProbeSpec, given: Parameters) -> bytes:
    """Everything is told, so that neither the environment nor files of this process's user add to it."""
    return make_conninfo(
        hostaddr=spec.address,
        port=spec.port,
        user=given.user_name,
        password=given.password,
        dbname=given.database or given.user_name,
        passfile="/nonexistent",
        sslmode="require" if spec.secure else "disable",
        sslcert="",
        sslkey="",
        sslrootcert="",
        sslcrl="",
        gssencmode="disable",
        channel_binding="prefer",
        target_session_attrs="any",
        client_encoding="UTF8",
        application_name="halfpipe",
        options="",
    ).encode()


def _told(result: pq.abc.PGresult) -> str:
    status = pq.ExecStatus(result.status).name
    rows = f", {result.ntuples} rows" if result.status == pq.ExecStatus.TUPLES_OK else ""
    first = ", ".join(_text(result.get_value(0, column)) for column in range(result.nfields)) if result.ntuples else ""
    said = first or (result.command_status or result.error_message or b"").decode(errors="replace").strip()
    return f"{status}{rows}{f': {said}' if said else ''}"


def _text(value: bytes | None) -> str:
    return "NULL" if value is None else value.decode(errors="replace")


def _ignore(_notice: pq.abc.PGresult) -> None:
    """Notices are no errors."""
