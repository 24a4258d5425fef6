"""Output of plugins: text, and performance data behind a bar (Monitoring Plugins Development Guidelines, 2.6)."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

TEXT_LIMIT: Final = 120  # characters of a message
DATA_LIMIT: Final = 70
_HIDDEN: Final = "•••"
# 'label'=value[unit];[warn];[crit];[min];[max]; a quote in a label is doubled.
_DATA: Final = re.compile(
    r"('(?:[^']|'')+'|[^\s='|]+)=(-?[0-9]+(?:\.[0-9]+)?|U)([a-zA-Z%]*)((?:;[^\s;]*){0,4})(?=\s|$)"
)


def read_output(output: str, secrets: Set[str] = frozenset()) -> str:
    """What to say: the first line, and in brackets the values of all performance data; one printable line."""
    for secret in sorted(secrets, key=len, reverse=True):
        output = output.replace(secret, _HIDDEN)
    first, _newline, rest = output.strip().partition("\n")
    text, _bar, data = first.partition("|")
    # After a bar in the lines that follow, all is performance data.
    data += " " + rest.partition("|")[2]
    values = [f"{label.strip(chr(39))} {value}{unit}" for label, value, unit, _limits in _DATA.findall(data)]
    said = _clean(text, TEXT_LIMIT)
    return f"{said} [{_clean(', '.join(values), DATA_LIMIT)}]".strip() if values else said


def performance(output: str) -> list[str]:
    """All performance data as it was written, one entry each."""
    first, _newline, rest = output.strip().partition("\n")
    data = first.partition("|")[2] + " " + rest.partition("|")[2]
    return [match[0] for match in _DATA.finditer(data)]


def _clean(text: str, limit: int) -> str:
    clean = "".join(one if one.isprintable() else "·" for one in text.strip())
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
