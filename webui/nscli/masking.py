"""Lines with their secrets hidden, for the audit, reports and histories."""

from __future__ import annotations

import re
from typing import Final

from monitors.parameters import plain
from webui.nscli.errors import CliError
from webui.nscli.lexer import Word, line_of, words
from webui.nscli.options import SECRETS

HIDDEN: Final = "•••"
# Beside our own, what other parts of a NetScaler configuration call theirs.
_SUSPECT: Final = re.compile(
    r"pass(word|wd|phrase|crypt)|secret|community|(rad|shared|psk|private|auth)key|token|secureargs"
)
_URLS: Final = frozenset({"url"})  # whose query may hold a token
# Commands whose arguments by position are secret after so many words.
_POSITIONS: Final[dict[tuple[str, ...], int]] = {
    ("add", "system", "user"): 4,
    ("set", "system", "user"): 4,
    ("add", "aaa", "user"): 4,
    ("set", "aaa", "user"): 4,
}


def is_secret(option: str) -> bool:
    """Whether an option of that name (with or without its hyphen) has a value that is to be hidden."""
    name = plain(option)
    return name in SECRETS or _SUSPECT.search(name) is not None


def masked(line: str) -> str:
    """The line with ••• for each secret; for one that cannot be taken apart, for all behind the first such option."""
    try:
        found = words(line)
    except CliError:
        return _masked_text(line)
    hidden = _hidden(found)
    if not hidden and not _has_url(found):
        return line
    return line_of(Word(HIDDEN) if index in hidden else _without_query(found, index) for index in range(len(found)))


def has_secret(line: str) -> bool:
    """Whether the line has something that :func:`masked` hides."""
    return masked(line) != line


def _hidden(found: list[Word]) -> set[int]:
    hidden: set[int] = set()
    under = ""
    for index, word in enumerate(found):
        if word.option:
            under = word.option
            if under == "encrypted" and index:
                hidden.add(index - 1)
        elif under and is_secret(under):
            hidden.add(index)
    start = _POSITIONS.get(tuple(word.text.lower() for word in found[:3]))
    if start is not None and len(found) > start and not found[start].option:
        hidden.add(start)
    return hidden


def _has_url(found: list[Word]) -> bool:
    return any(word.option in _URLS for word in found)


def _without_query(found: list[Word], index: int) -> Word:
    word = found[index]
    if index and found[index - 1].option in _URLS and "?" in word.text:
        return Word(f"{word.text.partition('?')[0]}?{HIDDEN}", bare=False)
    return word


def _masked_text(line: str) -> str:
    for match in re.finditer(r"(?<!\S)-([A-Za-z][\w-]*)", line):
        if is_secret(match[1]):
            return f"{line[: match.end()]} {HIDDEN}"
    return line
