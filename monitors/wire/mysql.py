"""MySQL's protocol of probes, by aiomysql: it speaks, and the conversation carries and bounds what is said."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Final

from aiomysql.connection import Connection
from pymysql.charset import charset_by_name
from pymysql.constants import CLIENT, COMMAND
from pymysql.err import MySQLError

from monitors import trace
from monitors.wire.stream import Conversation, WrongAnswer, shown
from monitors.wire.tls import Tls

_PACKET_LIMIT: Final = 0xFFFFFF  # bytes; told to the server, while TOTAL_LIMIT is what holds
_CHARSET: Final = "utf8mb4"
_CLEAR: Final = "mysql_clear_password"
# What the client raises for packets that are none has no common class.
_MALFORMED: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, AssertionError, RuntimeError, UnboundLocalError),
    struct.error,
)


@dataclass(frozen=True, slots=True)
class Login:
    """Who logs in, and where."""

    user_name: str
    password: str = field(repr=False)
    database: str
    secure: bool


@dataclass(frozen=True, slots=True)
class Rows:
    """Answer to a query; ``rows`` is empty for statements that have none."""

    rows: tuple[tuple[object, ...], ...]
    affected: int


class Client(Connection):  # type: ignore[misc]  # aiomysql has no types
    """A client whose bytes go through a conversation that is connected already."""

    def __init__(self, conversation: Conversation, login: Login) -> None:
        super().__init__(
            host=conversation.spec.address,
            user=login.user_name,
            # The client encodes it in Latin-1; servers know the bytes of the character set of whoever set it, UTF-8.
            password=login.password.encode().decode("latin-1"),
            db=login.database or None,
            charset=_CHARSET,
            program_name="halfpipe",
        )
        self._conversation = conversation
        self._login = login
        self._unsent = bytearray()
        self._next_seq_id = 0

    async def login(self) -> str:
        """Shake hands; returns the server's version. Raises WrongAnswer, OSError, ssl.SSLError."""
        self._conversation.waiting_for = "no greeting"
        # The answer to the server's challenge is made from the password, which could be guessed from the two.
        self._conversation.made_of_secrets = "message of the login (not shown)"
        try:
            await self._get_server_information()
            if self._login.secure:
                await self._start_tls()
            self._refuse_clear_text(self._server_auth_plugin)
            self._conversation.waiting_for = "no answer to the login"
            await self._request_authentication()
        except MySQLError as error:
            raise WrongAnswer(f"login: {_words(error)}") from error
        except _MALFORMED as error:
            raise WrongAnswer("connected, but what came is not MySQL's protocol") from error
        self._conversation.made_of_secrets = ""
        trace.note("login", f"accepted by {shown(str(self.server_version))}")
        return shown(str(self.server_version))

    async def ask(self, sql: str) -> Rows:
        """Run a query. Raises WrongAnswer, OSError."""
        self._conversation.waiting_for = "logged in, no answer to the query"
        trace.note("query", sql)
        try:
            await self.query(sql)
            result: Any = self._result
            return Rows(tuple(tuple(row) for row in result.rows or ()), int(result.affected_rows or 0))
        except MySQLError as error:
            raise WrongAnswer(f"logged in, query failed: {_words(error)}") from error
        except _MALFORMED as error:
            raise WrongAnswer("logged in, but what came for the query is not MySQL's protocol") from error

    async def quit(self) -> None:
        """Say goodbye, so that the server does not count the connection as aborted."""
        self._next_seq_id = 0
        self.write_packet(bytes([COMMAND.COM_QUIT]))
        await self._flush()

    def close(self) -> None:
        """Forget what is unsent; the conversation closes the connection."""
        self._unsent.clear()

    async def _start_tls(self) -> None:
        if not self.server_capabilities & CLIENT.SSL:
            raise WrongAnswer("the server offers no TLS")
        self.client_flag |= CLIENT.SSL
        number = charset_by_name(_CHARSET).id
        self.write_packet(struct.pack("<iIB23s", self.client_flag, _PACKET_LIMIT, number, b""))
        await self._flush()
        await self._conversation.start_tls(Tls())
        self._secure = True

    def _refuse_clear_text(self, plugin: str) -> None:
        if plugin == _CLEAR and not self._secure:
            raise WrongAnswer("the server wants the password in clear text, which is sent through TLS only (secure)")

    async def _process_auth(self, plugin_name: bytes, auth_packet: Any) -> Any:
        self._refuse_clear_text(plugin_name.decode(errors="replace"))
        return await super()._process_auth(plugin_name, auth_packet)

    def _ensure_alive(self) -> None:
        """The conversation knows."""

    def _write_bytes(self, data: bytes) -> None:
        self._unsent += data

    async def _flush(self) -> None:
        data = bytes(self._unsent)
        self._unsent.clear()
        if data:
            await self._conversation.send(data)

    async def _read_bytes(self, num_bytes: int) -> bytes:
        await self._flush()
        return await self._conversation.read_exactly(num_bytes)


def _words(error: MySQLError) -> str:
    code, *rest = error.args or ("",)
    text = shown(str(rest[0])) if rest else shown(str(code))
    return f"{text} ({code})" if rest else text
