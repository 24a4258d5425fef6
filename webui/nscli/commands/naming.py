"""Words of a command that may be left out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

# “add monitor” is “add lb monitor”, “save config” is “save ns config”.
LB_OPTIONAL: Final = frozenset({"monitor", "vserver", "monbindings"})


def spellings(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The words of a command, and without the group where that says nothing."""
    yield words
    if len(words) > 2 and ((words[1] == "lb" and words[2].lower() in LB_OPTIONAL) or words[1] == "ns"):
        yield (words[0], *words[2:])
