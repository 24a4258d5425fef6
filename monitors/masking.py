"""Where secrets stand in what a probe sent and received, whatever they are written as; pure.

A secret is looked for as it is, in the spellings that protocols and servers' echoes have (percent-encoding, HTML, JSON,
hexadecimal), and inside of everything that looks like base64, whatever else is encoded with it: that finds SASL PLAIN's
compound (RFC 4616) and HTTP's Basic credentials (RFC 7617) too. A value of several lines, such as headers, is looked
for line by line, and of a header its value and its credentials alone as well.
"""

from __future__ import annotations

import binascii
import html
import json
import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, quote_plus

HIDDEN: Final = "•••"
Span = tuple[int, int]  # from, to

_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{2,}={0,2}")
_HEADER: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[ \t]*(.+)")
# What texts to send are written with (monitors.wire.pattern).
_ESCAPE: Final = re.compile(r"\\(?:([rnt0\\])|x([0-9A-Fa-f]{2}))")
_ESCAPES: Final = {"r": "\r", "n": "\n", "t": "\t", "0": "\0", "\\": "\\"}
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_CUT: Final = "…".encode()  # ends what a message shows of a longer answer
_CUT_LEAST: Final = 3  # bytes of a secret before such an end that are no accident


class Mask:
    """Finds secrets in bytes."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._plain: frozenset[bytes] = frozenset()
        self._needles: frozenset[bytes] = frozenset()  # in lower case
        self.longest = 0  # bytes of the longest spelling
        self.add(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        """Look for these too; empty ones are none."""
        parts = {part for secret in secrets for part in _parts(secret)}
        self._plain |= frozenset(one for part in parts for one in _encoded(part))
        spellings = {one for part in parts for spelling in _spellings(part) for one in _encoded(spelling)} | self._plain
        # The case of hexadecimal digits, and of headers' names, is the writer's.
        self._needles |= frozenset(one.lower() for one in spellings)
        self.longest = max([self.longest, *map(len, spellings)])

    def spans(self, data: bytes) -> list[Span]:
        """All places of secrets, in order, none touching another."""
        if not self._needles:
            return []
        lower = data.lower()
        found = [span for needle in self._needles for span in _occurrences(needle, lower)]
        found += self._in_base64(data)
        found += self._cut_short(data)
        return _merged(found)

    def _in_base64(self, data: bytes) -> Iterator[Span]:
        shortest = min(map(len, self._plain))
        for match in _BASE64.finditer(data):
            run = match[0].rstrip(b"=").translate(_URL_SAFE)
            # What stands right before it may look like base64 too, hence each of the four ways to begin.
            if len(run) > shortest and any(self._holds_one(run[start:]) for start in range(4)):
                yield match.span()

    def _holds_one(self, run: bytes) -> bool:
        usable = len(run) - (len(run) % 4 == 1)
        try:
            decoded = binascii.a2b_base64(run[:usable] + b"=" * (-usable % 4))
        except binascii.Error:
            return False
        return any(one in decoded for one in self._plain)

    def _cut_short(self, data: bytes) -> Iterator[Span]:
        """Beginnings of secrets right before the end of what a message shows."""
        for match in re.finditer(re.escape(_CUT), data):
            end = match.start()
            for secret in self._plain:
                for size in range(min(len(secret), end), _CUT_LEAST - 1, -1):
                    if data[end - size : end] == secret[:size]:
                        yield end - size, end
                        break


def _occurrences(needle: bytes, data: bytes) -> Iterator[Span]:
    """All of them, those that overlap too."""
    begin = data.find(needle)
    while begin >= 0:
        yield begin, begin + len(needle)
        begin = data.find(needle, begin + 1)


def _parts(secret: str) -> Iterator[str]:
    """The secret itself, its lines, and of lines that are headers what is secret of them."""
    if not secret:
        return
    yield secret
    if secret.strip():
        yield secret.strip()
    for line in secret.replace("\\r\\n", "\n").splitlines():
        if not line.strip():
            continue
        yield line.strip()
        if (match := _HEADER.fullmatch(line.strip())) is not None:
            yield match[1]
            yield match[1].split()[-1]


def _spellings(part: str) -> Iterator[str]:
    yield from (quote_plus(part, errors="replace"), quote(part, errors="replace"), quote(part, "", errors="replace"))
    yield from (html.escape(part), html.escape(part, quote=False))
    yield from (json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1])
    yield part.encode(errors="replace").hex()
    # What messages show: control characters replaced (monitors.wire.stream.shown).
    yield "".join(one if one.isprintable() else "·" for one in part)
    if "\\" in part:
        yield part.replace("\\", "\\\\")
        yield _ESCAPE.sub(lambda match: chr(int(match[2], 16)) if match[2] else _ESCAPES[match[1]], part)


def _encoded(text: str) -> Iterator[bytes]:
    for codec in ("utf-8", "latin-1", "utf-16-le"):
        try:
            yield text.encode(codec)
        except UnicodeEncodeError:
            continue  # this codec cannot write it, so neither can who uses it


def _merged(spans: Iterable[Span]) -> list[Span]:
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out
