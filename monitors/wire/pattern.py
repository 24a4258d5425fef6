"""What an answer must contain: a text, or a regular expression written as ``/…/``.

Expressions are RE2's, which takes time linear in the answer: one that backtracks without end would stop all checks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import re2

from monitors import parameters

_MEMORY: Final = 1 << 20  # bytes that a compiled expression may take


def is_expression(wanted: str) -> bool:
    """Whether it is written as ``/…/``."""
    return len(wanted) > 2 and wanted.startswith("/") and wanted.endswith("/")


def matches(wanted: str, answer: bytes) -> bool:
    """Whether ``answer`` contains the text, or a match of the expression. Empty: anything does."""
    if is_expression(wanted):
        return _compiled(wanted[1:-1]).search(answer.decode(errors="replace")) is not None
    return wanted.encode() in answer


def problem(wanted: str) -> str:
    """What is wrong with an expression; empty when nothing is, and for a plain text."""
    if not is_expression(wanted):
        return ""
    try:
        _compiled(wanted[1:-1])
    except re2.error as error:
        said = error.args[0] if error.args else "syntax"
        text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
        return f"“{wanted}” is no regular expression (RE2 syntax): {text}."
    return ""


def trofs_string() -> Any:
    """``trofs_string``, a parameter of the kinds that look at content."""
    return parameters.text(
        limit=128,
        check=problem,
        label="Maintenance text",
        help="Text, or /…/, in the answer that says the server is under maintenance: the service then takes no new "
        "clients (GOING OUT OF SERVICE). Empty: none.",
    )


def unescaped(text: str) -> bytes:
    r"""The bytes to send: ``\r``, ``\n``, ``\t``, ``\0``, ``\\`` and ``\xHH`` stand for what they do in C."""
    return text.encode().decode("unicode_escape").encode("latin-1") if "\\" in text else text.encode()


def escapes_problem(text: str) -> str:
    """What is wrong with the escapes in a text to send; empty when nothing is."""
    try:
        unescaped(text)
    except (UnicodeError, ValueError):
        return r"An escape is wrong; there are \r, \n, \t, \0, \\ and \xHH."
    return ""


@lru_cache(maxsize=512)
def _compiled(expression: str) -> re2._Regexp[str]:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.dot_nl = False
    return re2.compile(expression, options)
