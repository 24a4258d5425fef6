"""Django's errors of single values, in words that name the value and the rule; pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.core.exceptions import ValidationError

LONGEST: Final = 60  # characters of a value that are repeated
_LIMITS: Final = {"min_value": "is less than", "max_value": "is more than"}
_NUMBER: Final = "is not a whole number"


def in_words(
    errors: Iterable[ValidationError], value: Any, *, number: bool = False, choices: Sequence[str] = ()
) -> list[ValidationError]:
    """Each error with the value in it where Django's text lacks it; ``value`` is what was typed.

    ``number``: “invalid” means that it is no whole number. Texts that are not Django's stay as they are.
    """
    return [_in_words(error, value, number=number, choices=choices) for error in errors]


def _in_words(error: ValidationError, value: Any, *, number: bool, choices: Sequence[str]) -> ValidationError:
    params = error.params or {}
    if error.code in _LIMITS and "limit_value" in params:
        text = f"{quoted(params.get('show_value', value))} {_LIMITS[error.code]} {params['limit_value']}."
    elif error.code == "invalid" and number:
        text = f"{quoted(value)} {_NUMBER}."
    elif error.code == "invalid" and params.get("protocol"):
        text = f"{quoted(value)} is not an {params['protocol']} address."
    elif error.code == "invalid_choice":
        rule = f"is none of {', '.join(choices)}" if choices else "is not among the choices (any more)"
        text = f"{quoted(params.get('value', value))} {rule}."
    else:
        return error
    return ValidationError(text, code=error.code)


def quoted(value: Any) -> str:
    """A value between quotation marks, cut when it is long."""
    text = str(value)
    return f"“{text[:LONGEST]}…”" if len(text) > LONGEST else f"“{text}”"
