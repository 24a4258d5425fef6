r"""From a line to its words and back; pure.

NetScaler's quoting: ``"…"`` with ``\"`` and ``\\``, ``'…'`` and ``q{…}`` (also ``q(…)``, ``q<…>``, ``q/…/``, ``q|…|``,
``q~…~``, ``q!…!``) as they stand. Other backslashes stand for themselves, so ``"GET /\r\n"`` reaches a monitor as it
was typed. Our own is ``\u{a}`` within ``"…"``: the character of that hexadecimal number, such as a line's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from webui.nscli.errors import CliError

LONGEST: Final = 65_536  # characters of a line
_ESCAPE: Final = re.compile(r"\\(?:([\\\"])|u\{([0-9A-Fa-f]{1,6})\})")
_DELIMITERS: Final = {"{": "}", "(": ")", "<": ">"} | {one: one for one in "/|~!"}
_BLANK: Final = " \t\r\n"
# What may stand without quotation marks; everything else is quoted, whether it must be or not.
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.:@=+*/%,~^|•][A-Za-z0-9_.:@=+*/%,~^|•#-]*|-[0-9]*")


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line; ``bare``: without quotation marks, so that it may be an option or a range."""

    text: str
    bare: bool = True

    @property
    def option(self) -> str:
        """Name of the option that it is, in lower case; empty for a value."""
        if self.bare and len(self.text) > 1 and self.text[0] == "-" and self.text[1].isalpha():
            return self.text[1:].lower()
        return ""


class UnfinishedError(CliError):
    """A quotation that does not end on the line."""


def words(line: str) -> list[Word]:
    """The words of a line; none for a comment. Raises CliError, UnfinishedError."""
    if len(line) > LONGEST:
        raise CliError(f"The line has {len(line)} characters; at most {LONGEST} are allowed")
    if "\0" in line or any("\ud800" <= one <= "\udfff" for one in line):
        raise CliError("The line holds what is no text: a NUL character, or half of a surrogate pair")
    if line.lstrip(_BLANK).startswith("#"):
        return []
    found = []
    at = _skip(line, 0)
    while at < len(line):
        word, at = _word(line, at)
        found.append(word)
        if at < len(line) and line[at] not in _BLANK:
            raise CliError(f"After the quotation “{_short(word.text)}” comes a space, not “{line[at]}”")
        at = _skip(line, at)
    return found


def _skip(line: str, at: int) -> int:
    while at < len(line) and line[at] in _BLANK:
        at += 1
    return at


def _word(line: str, at: int) -> tuple[Word, int]:
    first = line[at]
    if first == '"':
        return _quoted(line, at + 1)
    if first == "'":
        end = line.find("'", at + 1)
        if end < 0:
            raise UnfinishedError(f"The quotation '{_short(line[at + 1 :])} does not end")
        return Word(line[at + 1 : end], bare=False), end + 1
    if first in "qQ" and at + 1 < len(line) and line[at + 1] in _DELIMITERS:
        return _bracketed(line, at + 1)
    end = at
    while end < len(line) and line[end] not in _BLANK:
        end += 1
    return Word(line[at:end]), end


def _quoted(line: str, start: int) -> tuple[Word, int]:
    at = start
    while at < len(line) and line[at] != '"':
        at += 2 if line[at] == "\\" and line[at + 1 : at + 2] in {"\\", '"'} else 1
    if at >= len(line):
        raise UnfinishedError(f'The quotation "{_short(line[start:])} does not end')
    return Word(_ESCAPE.sub(_unescaped, line[start:at]), bare=False), at + 1


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return match[1]
    number = int(match[2], 16)
    if number == 0 or number > 0x10FFFF or 0xD800 <= number <= 0xDFFF:
        raise CliError(f"“{match[0]}” is no character")
    return chr(number)


def _bracketed(line: str, at: int) -> tuple[Word, int]:
    opening, closing = line[at], _DELIMITERS[line[at]]
    depth = 1
    for end in range(at + 1, len(line)):
        if line[end] == closing:
            depth -= 1
        elif line[end] == opening:
            depth += 1
        if depth == 0:
            return Word(line[at + 1 : end], bare=False), end + 1
    raise UnfinishedError(f"The quotation q{opening}{_short(line[at + 1 :])} does not end: it needs {closing}")


def _short(text: str) -> str:
    return text if len(text) <= 20 else f"{text[:20]}…"


def quoted(text: str) -> str:
    """A value as it is written on a line: :func:`words` gives it back."""
    if _PLAIN.fullmatch(text) and not (text[0] in "qQ" and text[1:2] in _DELIMITERS):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\u{{{ord(one):x}}}" for one in escaped) + '"'


def line_of(parts: Iterable[Word]) -> str:
    """A line of these words; options and other bare words stay as they are where they can."""
    return " ".join(one.text if one.bare and _is_one_bare_word(one.text) else quoted(one.text) for one in parts)


def _is_one_bare_word(text: str) -> bool:
    if not text or text[0] in "\"'#" or any(char in _BLANK or char == "\0" for char in text):
        return False
    return not (text[0] in "qQ" and text[1:2] in _DELIMITERS)


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of a file with their numbers from 1; a quotation may go on over line ends. Blank ones are left out."""
    lines = text.replace("\r\n", "\n").split("\n")
    number = 0
    while number < len(lines):
        first, line = number + 1, lines[number]
        number += 1
        if _is_unfinished(line):
            for more in range(number, min(number + 200, len(lines))):
                joined = "\n".join(lines[first - 1 : more + 1])
                if len(joined) > LONGEST:
                    break
                if not _is_unfinished(joined):
                    line, number = joined, more + 1
                    break
        if line.strip():
            yield first, line


def _is_unfinished(line: str) -> bool:
    try:
        words(line)
    except UnfinishedError:
        return True
    except CliError:
        return False
    return False
