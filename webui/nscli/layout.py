"""Pieces of NetScaler's screens: numbered lists, indented lines, tables with ruled headings; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

GAP = "  "


def numbered(index: int, lines: Iterable[str]) -> list[str]:
    """Lines of an object in a list: ``1)`` before the first, the others beneath it."""
    first, *rest = lines
    return [f"{index})\t{first}", *rest]


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """Lines with tabs before them."""
    return [f"{chr(9) * depth}{line}" for line in lines]


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, right: frozenset[int] = frozenset()) -> list[str]:
    """Columns as wide as their longest text; numbers of the columns in ``right`` end at one line."""
    cells = [list(headings), *(list(row) for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(headings))]

    def line(row: Sequence[str]) -> str:
        parts = [
            text.rjust(widths[index]) if index in right else text.ljust(widths[index]) for index, text in enumerate(row)
        ]
        return GAP.join(parts).rstrip()

    return [line(cells[0]), *(line(row) for row in cells[1:])]


def stamp(at: datetime) -> str:
    """``Tue Nov 24 09:00:00 2026``, as NetScaler writes times; ours are UTC."""
    return f"{at:%a %b} {at.day:2d} {at:%H:%M:%S %Y}"


def elapsed(since: datetime, now: datetime) -> str:
    """``0 days, 05:49:06.390``."""
    passed = max(now - since, now - now)
    hours, rest = divmod(passed.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{passed.days} days, {hours:02d}:{minutes:02d}:{seconds:02d}.{passed.microseconds // 1000:03d}"


def option_lines(row: Any) -> list[str]:
    """What NetScaler tells of the options of a service or of a group of them; those without a column are neutral."""
    return [
        "Max Conn: 0\tMax Req: 0\tMax Bandwidth: 0 kbits",
        f"Use Source IP: {'YES' if row.usip else 'NO'}",
        "Client Keepalive(CKA): NO",
        "TCP Buffering(TCPB): NO",
        "HTTP Compression(CMP): NO",
        "Idle timeout: Client: 0 sec\tServer: 0 sec",
        "Client IP: DISABLED",
        "Cacheable: NO",
        "SC: OFF",
        "SP: OFF",
        f"Down state flush: {row.down_state_flush}",
        "Monitor Connection Close : NONE",
        f"Health Monitoring: {'ON' if row.health_monitor else 'OFF'}",
        "Traffic Domain: 0",
        *([f"Comment: {row.comment}"] if row.comment else []),
    ]
