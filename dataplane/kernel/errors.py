"""One kind of error for all that the kernel refuses."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from pyroute2 import NetlinkError

P = ParamSpec("P")
R = TypeVar("R")


def as_oserror(function: Callable[P, R]) -> Callable[P, R]:
    """Raise pyroute2's NetlinkError, which is no OSError, as one with the same errno."""

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NetlinkError as error:
            raise OSError(error.code, f"{function.__name__}: {os.strerror(error.code)}") from error

    return wrapper
