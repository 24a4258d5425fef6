"""MYSQL: log in and run a query over the probe path."""

from __future__ import annotations

from dataclasses import replace

from monitors.kinds.mysql.kind import Parameters
from monitors.parameters import read
from monitors.spec import ProbeResult, ProbeSpec
from monitors.wire.mysql import Client, Login, Rows
from monitors.wire.stream import Conversation, converse, shown


async def probe(spec: ProbeSpec) -> ProbeResult:
    """Raises ValueError when ``spec.address`` is no IP address."""
    given = read(Parameters, spec)

    async def talk(conversation: Conversation) -> str:
        login = Login(given.user_name, given.password, given.database, spec.secure)
        client = Client(conversation, login)
        version = await client.login()
        answer = await client.ask(given.sql_query)
        await client.quit()
        return f"{version}, {in_words(answer)}"

    return await converse(replace(spec, secure=False), talk)  # TLS begins after the server's greeting


def in_words(answer: Rows) -> str:
    """What a query brought."""
    if not answer.rows:
        return f"query succeeded, {answer.affected} rows affected" if answer.affected else "query succeeded, no rows"
    first = ", ".join(str(value) for value in answer.rows[0])
    return f"{len(answer.rows)} {'row' if len(answer.rows) == 1 else 'rows'}: {shown(first)}"
