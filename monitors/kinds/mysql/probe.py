"""MYSQL: log in and run a query over the probe path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from monitors.kinds.mysql.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.mysql import Client, Login, Rows
from monitors.wire.sql import rows_in_words
from monitors.wire.stream import Conversation, converse


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    return await ask(spec, read(Parameters, spec), in_words)


async def ask(spec: ProbeSpec, given: Parameters, judge: Callable[[Rows], str]) -> ProbeResult:
    """Log in and run the query; ``judge`` says what the answer means, or raises WrongAnswer."""

    async def talk(conversation: Conversation) -> str:
        login = Login(given.user_name, given.password, given.database, spec.secure)
        client = Client(conversation, login)
        version = await client.login()
        answer = await client.ask(given.sql_query)
        await client.quit()
        return f"{version}, {judge(answer)}"

    return await converse(replace(spec, secure=False), talk)  # TLS begins after the server's greeting


def in_words(answer: Rows) -> str:
    """What a query brought."""
    if not answer.rows:
        return f"query succeeded, {answer.affected} rows affected" if answer.affected else "query succeeded, no rows"
    return rows_in_words(len(answer.rows), answer.rows[0])
