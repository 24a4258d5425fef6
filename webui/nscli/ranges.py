"""``name[1-3]``: several commands on one line; pure."""

from __future__ import annotations

import re
from typing import Final

from webui.nscli.errors import CliError
from webui.nscli.lexer import Word

MOST: Final = 256  # commands of one line
_RANGE: Final = re.compile(r"\[(\d{1,9})-(\d{1,9})\]")


def expanded(words: list[Word]) -> list[list[Word]]:
    """The line once for each step of its ranges, all of which count together; itself alone without any.

    ``add service web[1-3] srv[1-3] ANY 80`` is three commands. Only bare words that are no options, and no values of
    options, have ranges. Raises CliError.
    """
    upto = next((index for index, word in enumerate(words) if word.option), len(words))
    spans = [_span(match) for word in words[:upto] if word.bare for match in _RANGE.finditer(word.text)]
    if not spans:
        return [words]
    sizes = {last - first + 1 for first, last, _width in spans}
    if len(sizes) > 1:
        told = ", ".join(str(size) for size in sorted(sizes))
        raise CliError(f"Ranges on one line must be equally long; these have {told} members")
    size = sizes.pop()
    if size > MOST:
        raise CliError(f"The range has {size} members; at most {MOST} are allowed")
    return [
        [_stepped(word, step) if index < upto else word for index, word in enumerate(words)] for step in range(size)
    ]


def _span(match: re.Match[str]) -> tuple[int, int, int]:
    first, last = int(match[1]), int(match[2])
    if first > last:
        raise CliError(f"“{match[0]}” is no range: the first number is the lower one")
    return first, last, len(match[1])


def _stepped(word: Word, step: int) -> Word:
    if not word.bare:
        return word

    def number(match: re.Match[str]) -> str:
        first, _last, width = _span(match)
        zeros = width if match[1].startswith("0") else 0
        return str(first + step).zfill(zeros)

    return Word(_RANGE.sub(number, word.text))
