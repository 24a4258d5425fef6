"""An action done and undone: the same rules and the same errors, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from django.db import transaction

Result = TypeVar("Result")


def rehearse(action: Callable[[], Result]) -> Result:
    """Do ``action`` and take everything back, its audit entries too; raises what it raises.

    Rows in the result are as they were made: their keys stand for nothing any more. What waits for the commit, such as
    waking the data plane, never happens.
    """
    with transaction.atomic():
        result = action()
        transaction.set_rollback(True)
        return result
