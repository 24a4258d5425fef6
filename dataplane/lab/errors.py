"""The lab's one error type."""

from __future__ import annotations


class LabError(Exception):
    """A condition that stops the lab; the text is a whole sentence for the person at the terminal."""
