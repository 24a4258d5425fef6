"""What an action raises besides Django's ValidationError; each text is fit to be shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django.core.exceptions import PermissionDenied, ValidationError

UNFIT: Final = "invalid"  # the code, as Django's own checks of single values have it


def unfit(problems: Mapping[str, str]) -> ValidationError:
    """The error of values that are wrong by themselves, by field; no other configuration would make them right.

    Errors of rules that look at other objects, or at several fields, carry no code: see :mod:`webui.api.problems`.
    """
    return ValidationError({name: ValidationError(text, code=UNFIT) for name, text in problems.items()})


class PermissionRefused(PermissionDenied):
    """The actor lacks a permission; the attempt is in the audit."""


class NotFoundError(LookupError):
    """No object of that name; the text starts with NetScaler's ``No such resource``."""


class ConflictError(Exception):
    """The object changed since the caller read it.

    ``changes`` has one line for each change made meanwhile, naming who made it; ``current_version`` is what to send
    after reading again; ``before`` has what the fields that were changed meanwhile had when the caller read them.
    """

    def __init__(
        self, message: str, *, current_version: int, changes: list[str], before: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.current_version = current_version
        self.changes = changes
        self.before = dict(before or {})
