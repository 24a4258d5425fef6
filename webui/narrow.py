"""What of the live snapshot one browser wants: a list of fifty rows need not get ten thousand twice a minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from webui.asked import PAGE_SIZES

SOURCES: Final = frozenset(
    {"problems", "vservers", "services", "servicegroups", "servers", "monitors"}
    | {"directors", "reasons", "recent", "checks"}
)
COUNTED: Final = frozenset({"vservers", "services", "reasons"})
MOST_KEYS: Final = 2 * max(PAGE_SIZES)  # of one source; who wants more gets all of it
MOST_FIRST: Final = 10_000
LONGEST: Final = 20_000  # characters of a wish
MOST_SOURCES: Final = 20

Row = Mapping[str, Any]


class Rows:
    """The rows of one source, in order, found by their keys."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._places = {row["key"]: place for place, row in enumerate(rows)}

    def these(self, keys: frozenset[str]) -> list[Row]:
        """Those of the keys that are there, in order."""
        return [self.rows[place] for place in sorted(self._places[key] for key in keys & self._places.keys())]


@dataclass(frozen=True)
class Wish:
    """By source: keys; the number of first rows; or None for all. Sources that are not named are not wanted.

    ``plain``: for a browser that cannot unpack what is compressed.
    """

    keys: Mapping[str, frozenset[str] | int | None]
    plain: bool = False

    @property
    def text(self) -> str:
        """The same for wishes that are alike."""
        parts = []
        for name, wanted in sorted(self.keys.items()):
            value = "*" if wanted is None else f"~{wanted}" if isinstance(wanted, int) else ",".join(sorted(wanted))
            parts.append(f"{name}={value}")
        return "&".join([*parts, "plain=1"] if self.plain else parts)

    def rows(self, sources: Mapping[str, Rows]) -> dict[str, Sequence[Row]]:
        """The rows that are wanted, by source."""
        found: dict[str, Sequence[Row]] = {}
        for name, wanted in self.keys.items():
            if name not in sources:
                continue
            if isinstance(wanted, frozenset):
                found[name] = sources[name].these(wanted)
            else:
                found[name] = sources[name].rows[:wanted]
        return found

    def counters(self, payload: Mapping[str, Any], shown: Mapping[str, Sequence[Row]]) -> dict[str, dict[str, Any]]:
        """The part of a director's counters that is of the rows ``shown``."""
        found: dict[str, dict[str, Any]] = {}
        for kind in COUNTED & self.keys.keys() & payload.keys():
            counted, wanted = payload[kind], self.keys[kind]
            if isinstance(wanted, int):
                keys = [row["key"] for row in shown.get(kind, ()) if row["key"] in counted]
                found[kind] = {key: counted[key] for key in keys}
            else:
                found[kind] = (
                    dict(counted) if wanted is None else {key: counted[key] for key in wanted & counted.keys()}
                )
        return found


EVERYTHING: Final = Wish(dict.fromkeys(sorted(SOURCES)))


def wish_of(text: str) -> Wish | None:
    """``services=1,2&vservers=~50&directors=*`` as a wish; None, which stands for everything, for what is none.

    Services 1 and 2, the first fifty virtual servers, and all directors. ``plain=1`` beside them asks for messages
    without compression.
    """
    if not text or len(text) > LONGEST:
        return None
    try:
        given = parse_qs(text, strict_parsing=True, max_num_fields=MOST_SOURCES)
    except ValueError:
        return None
    if not SOURCES.issuperset(given.keys() - {"none", "plain"}):
        return None
    keys = {name: _wanted(values[0]) for name, values in given.items() if name in SOURCES}
    return Wish(keys, plain="plain" in given)


def _wanted(value: str) -> frozenset[str] | int | None:
    first = value.removeprefix("~")
    if first != value and first.isascii() and first.isdecimal() and len(first) < 10:
        return min(int(first), MOST_FIRST)
    wanted = frozenset(value.split(","))
    return None if "*" in wanted or len(wanted) > MOST_KEYS else wanted
