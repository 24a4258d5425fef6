"""Secrets are replaced before an entry is written: what is not in the audit cannot leak from it; pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

HIDDEN: Final = "•••"
# What is in place of a secret already, and says more than HIDDEN does.
SAID: Final = frozenset({"", "set", "changed", "removed", "another one", HIDDEN})

_WORDS = (
    r"passw(?:or)?d|passwd|passphrase|pwd|secret|token|api_?-?key|private_?-?key|credential|authorization"
    r"|cookie|signature|community|rad_?-?key|secure_?-?args|otp|pin_?-?code"
)
_NAME = re.compile(rf"(?:{_WORDS})s?$", re.IGNORECASE)
_TEXTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # ?token=… of a URL or a form
        rf"((?:[?&;]|^|\s)[\w.-]*(?:{_WORDS}|\bkey|\bsig|\bauth)[\w.-]*=)[^&\s\"'#;]+",
        # "password": "…" of JSON
        rf"(\"[\w.-]*(?:{_WORDS})\"\s*:\s*\")(?:[^\"\\]|\\.)*",
        # Authorization: Bearer …
        r"((?:authorization|cookie|x-nitro-pass)\s*:\s*(?:(?:basic|bearer|digest)\s+)?)[^\s\"';,]+",
        # -password … of the command line; the same quoted
        rf"(\s-[\w-]*(?:{_WORDS})\s+)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"']+)",
        # set system user NAME PASSWORD
        r"(\b(?:add|set)\s+system\s+user\s+(?:\"[^\"]*\"|'[^']*'|\S+)\s+)(?:\"[^\"]*\"|'[^']*'|[^-\s]\S*)",
    )
)
# login NAME PASSWORD; of a command alone, since sentences begin so as well.
_LOGIN = re.compile(r"(^\s*login\s+(?:\"[^\"]*\"|'[^']*'|\S+)\s+)(?:\"[^\"]*\"|'[^']*'|\S+)", re.IGNORECASE)
_USER_INFO = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@\"']+@", re.IGNORECASE)
# A part of a path that nobody thought up: 20 characters, with digits among letters.
_TOKEN = re.compile(r"(?=[^/]*\d)(?=[^/]*[A-Za-z])[A-Za-z0-9_=~-]{20,}")


def values(kind: str, given: Mapping[str, Any] | None, secrets: Collection[str] = ()) -> dict[str, Any] | None:
    """The fields of an object with every secret replaced; ``secrets`` are further names, in their plain spelling."""
    if given is None:
        return None
    return {name: _value(kind, str(name), value, secrets) for name, value in given.items()}


def _value(kind: str, name: str, value: Any, secrets: Collection[str]) -> Any:
    if is_secret(name, secrets) and not isinstance(value, bool | None):
        return value if isinstance(value, str) and value in SAID else HIDDEN
    if isinstance(value, Mapping):
        return values(kind, value, secrets)
    if isinstance(value, list | tuple):
        return [_value(kind, name, one, secrets) for one in value]
    if isinstance(value, str):
        return without_token(value) if (kind, name) == ("eventtarget", "url") else text(value, secrets)
    return value


def is_secret(name: str, secrets: Collection[str] = ()) -> bool:
    """Whether a field of that name holds a secret."""
    return _NAME.search(name) is not None or name.lower().replace("-", "").replace("_", "") in secrets


def without_token(url: str) -> str:
    """A webhook's URL without what a receiver may know the sender by: its query, and parts of its path that look so."""
    split = urlsplit(url)
    host = split.netloc.rpartition("@")[2]
    path = _TOKEN.sub(HIDDEN, split.path)
    return f"{split.scheme}://{host}{path}" + (f"?{HIDDEN}" if split.query else "")


def command(given: str, secrets: Collection[str] = ()) -> str:
    """What was typed, with every secret in it replaced."""
    return _LOGIN.sub(rf"\g<1>{HIDDEN}", text(given, secrets))


def text(given: str, secrets: Collection[str] = ()) -> str:
    """A path or a sentence with every secret in it replaced."""
    for pattern in _TEXTS:
        given = pattern.sub(rf"\g<1>{HIDDEN}", given)
    if "-" in given:
        for option in secrets:
            given = _option(option).sub(rf"\g<1>{HIDDEN}", given)
    return _USER_INFO.sub(rf"\g<1>{HIDDEN}@", given)


@lru_cache(maxsize=256)
def _option(name: str) -> re.Pattern[str]:
    """An option of the command line with that plain name, and its value."""
    spelled = r"[-_]?".join(map(re.escape, name))
    return re.compile(rf"(\s-{spelled}\s+)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"']+)", flags=re.IGNORECASE)
