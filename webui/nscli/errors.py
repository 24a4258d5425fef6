"""What is wrong with a line, in one sentence after NetScaler's ``ERROR:``."""

from __future__ import annotations


class CliError(Exception):
    """A line that cannot be run; the text is one line, without ``ERROR:`` and full stop."""
