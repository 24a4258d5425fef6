"""Following the chain link by link; pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from webui.audit import chain


@dataclass(frozen=True, slots=True)
class Head:
    """An end of the chain: the sequence number of an entry, and its hash."""

    sequence: int = 0
    hash: str = chain.GENESIS


@dataclass(frozen=True, slots=True)
class Broken:
    """The first link that does not hold: at which entry, and what is wrong with it."""

    sequence: int
    text: str


def follow(entries: Iterable[Mapping[str, Any]], start: Head) -> Iterator[Head | Broken]:
    """Each entry's own head, in the order of sequence numbers; a Broken ends it. Entries have FIELDS and ``hash``."""
    last = start
    for entry in entries:
        found = _check(entry, last)
        if found is not None:
            yield found
            return
        last = Head(entry["sequence"], entry["hash"])
        yield last


def _check(entry: Mapping[str, Any], last: Head) -> Broken | None:
    number, follows = entry["sequence"], last.sequence + 1
    if number > follows:
        missing = f"entry {follows} is" if number == follows + 1 else f"entries {follows} to {number - 1} are"
        return Broken(follows, f"{missing} missing: {number} comes after {last.sequence}.")
    if number < follows:
        return Broken(number, f"entry {number} stands where {follows} should: it was inserted.")
    try:
        hashed = chain.digest(entry)
    except (KeyError, TypeError, ValueError) as error:
        return Broken(number, f"entry {number} cannot be read: {error!r}.")
    if entry["previous"] != last.hash:
        before = f"entry {last.sequence}" if last.sequence else "the beginning"
        return Broken(number, f"entry {number} does not follow {before}, which is not what it was when it followed.")
    if hashed != entry["hash"]:
        return Broken(number, f"entry {number} was altered: its content does not give its hash.")
    return None
