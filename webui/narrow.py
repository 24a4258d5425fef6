"""What of the live snapshot one browser wants: a list of fifty rows need not get ten thousand twice a minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from webui.asked import PAGE_SIZES

SOURCES: Final = frozenset(
    {"problems", "vservers", "services", "servers", "monitors", "directors", "reasons"} | {"recent", "checks"}
)
COUNTED: Final = frozenset({"vservers", "services", "reasons"})
MOST_KEYS: Final = 2 * max(PAGE_SIZES)  # of one source; who wants more gets all of it
LONGEST: Final = 20_000  # characters of a wish
MOST_SOURCES: Final = 20


@dataclass(frozen=True)
class Wish:
    """Keys by source; None for all of its rows. Sources that are not named are not wanted."""

    keys: Mapping[str, frozenset[str] | None]

    def snapshot(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a snapshot that is wanted; what is no list of rows stays."""
        found = {}
        for name, value in message.items():
            if name == "counters":
                found[name] = [{**row, "payload": self.counters(row["payload"])} for row in value]
            elif name not in SOURCES:
                found[name] = value
            elif name in self.keys:
                wanted = self.keys[name]
                found[name] = value if wanted is None else [row for row in value if row["key"] in wanted]
        return found

    def counters(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """The part of a director's counters that is wanted."""
        found = {}
        for kind in COUNTED & self.keys.keys() & payload.keys():
            wanted = self.keys[kind]
            counted: Mapping[str, Any] = payload[kind]
            found[kind] = counted if wanted is None else {key: counted[key] for key in wanted if key in counted}
        return found


def wish_of(text: str) -> Wish | None:
    """``services=1,2&directors=*`` as a wish; None, which stands for everything, for what is none."""
    if not text or len(text) > LONGEST:
        return None
    try:
        given = parse_qs(text, strict_parsing=True, max_num_fields=MOST_SOURCES)
    except ValueError:
        return None
    if not SOURCES.issuperset(given.keys() - {"none"}):
        return None
    keys: dict[str, frozenset[str] | None] = {}
    for name, values in given.items():
        wanted = frozenset(values[0].split(","))
        keys[name] = None if "*" in wanted or len(wanted) > MOST_KEYS else wanted
    keys.pop("none", None)
    return Wish(keys)
