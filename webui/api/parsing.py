"""Bodies of requests, as JSON."""

from __future__ import annotations

import json
from typing import Any, Final

from django.http import HttpRequest
from ninja.parser import Parser

_EXACT: Final = 2**53  # beyond it a float stands for several whole numbers


class Json(Parser):
    """JSON has one kind of number: 5.0 is 5, and fits where whole numbers are asked for (RFC 8259, section 6)."""

    def parse_body(self, request: HttpRequest) -> Any:
        """The body. Raises ValueError."""
        return json.loads(request.body, parse_float=_number)


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if abs(number) <= _EXACT and number.is_integer() else number
