"""Cells of CSV files, which are opened with spreadsheets."""

from __future__ import annotations

from typing import Any

# What a spreadsheet would take for a formula (OWASP, "CSV Injection").
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def guarded(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that looks like a formula begins with an apostrophe. Numbers stay."""
    if value is None:
        return ""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
