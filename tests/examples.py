"""How many examples hypothesis makes where a test names a number itself."""

from __future__ import annotations

import os
from typing import Final

# Set by whoever runs the same tests a second time, such as on another database. Not named as settings are.
VARIABLE: Final = "TEST_EXAMPLES"
FEW: Final = "few"
SHARE: Final = 8


def examples(number: int) -> int:
    """``number``, or, where the environment asks for few, an eighth of it, but two at least."""
    return max(2, number // SHARE) if os.environ.get(VARIABLE) == FEW else number
