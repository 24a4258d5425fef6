"""What the review shows as CSV, JSON Lines or NetScaler's log lines, row by row."""

from __future__ import annotations

import csv
import io
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from webui.audit import chain, commands, search
from webui.audit.asked import STATE, Asked
from webui.audit.search import Row
from webui.cells import guarded
from webui.choices import Interface, Outcome
from webui.models import AuditEntry

COLUMNS: Final = (*chain.FIELDS, "hash")


@dataclass(frozen=True)
class Format:
    """A format of the export; ``head`` are the lines before the first row."""

    label: str
    content_type: str
    suffix: str
    line: Callable[[Row], str]
    head: Callable[[], str] = lambda: ""


def values(row: Row) -> dict[str, Any]:
    """A row by COLUMNS. A change of state is in no chain: it has neither sequence number nor hashes."""
    if isinstance(row, AuditEntry):
        return chain.content(row) | {"hash": row.hash}
    about = {"vip": row.vip, "monitor": row.monitor_name}
    return dict.fromkeys(COLUMNS) | {
        "at": chain.stamp(row.at),
        "actor_name": row.monitor_name,
        "interface": str(Interface.SYSTEM),
        "verb": STATE,
        "outcome": str(Outcome.SUCCESS),
        "kind": "service",
        "object_id": row.service_id,
        "object_name": row.service_name,
        "before": about | {"state": row.old},
        "after": about | {"state": row.new},
        "reason": row.reason,
    }


def _csv(cells: list[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow([guarded(cell) for cell in cells])
    return buffer.getvalue()


def _csv_row(row: Row) -> str:
    found = values(row)
    packed = {name: json.dumps(found[name], ensure_ascii=False) for name in ("before", "after") if found[name]}
    return _csv([(found | packed)[name] for name in COLUMNS])


def _json_row(row: Row) -> str:
    return json.dumps(values(row), ensure_ascii=False) + "\n"


def _ns_row(row: Row) -> str:
    text = commands.line(row, socket.gethostname())
    return f"{text}\n" if text else ""


FORMATS: Final[dict[str, Format]] = {
    "csv": Format("CSV", "text/csv; charset=utf-8", "csv", _csv_row, lambda: _csv([*COLUMNS])),
    "json": Format("JSON Lines", "application/x-ndjson; charset=utf-8", "jsonl", _json_row),
    "ns": Format("NetScaler log", "text/plain; charset=utf-8", "log", _ns_row),
}


def lines(name: str, asked: Asked) -> Iterator[str]:
    """All rows asked for, newest first, in one of FORMATS. Raises KeyError for another."""
    wanted = FORMATS[name]
    if head := wanted.head():
        yield head
    for row in search.everything(asked):
        if text := wanted.line(row):
            yield text
