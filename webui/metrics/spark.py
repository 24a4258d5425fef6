"""Sparklines: the last hour of each virtual server in thirty characters. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from webui.metrics.series import Point as Counted
from webui.metrics.series import Points, Rate, merge, rate, together

SLOTS: Final = 30
SLOT: Final = 120  # seconds
HEIGHT: Final = 15  # the highest hexadecimal digit
GAP: Final = "-"

Lines = dict[str, tuple[str, float]]


def sparklines(minutes: Iterable[tuple[str, int, Points]], until: int) -> Lines:
    """Of each object: heights in hexadecimal digits, the last slot ends at ``until``; and packets/s of the highest.

    ``minutes``: director, begin in Unix seconds, points. Directors are added up. Objects without a packet have a line
    of zeros, so that they differ from those that nobody counted.
    """
    begin = until - SLOTS * SLOT
    slots: dict[str, dict[tuple[int, str], Counted]] = {}
    for director, at, points in minutes:
        index = (at - begin) // SLOT
        if not 0 <= index < SLOTS:
            continue
        for key, point in points.items():
            mine = slots.setdefault(key, {})
            known = mine.get((index, director))
            mine[index, director] = point if known is None else merge(known, point)
    return {key: _line(mine) for key, mine in slots.items()}


def _line(mine: dict[tuple[int, str], Counted]) -> tuple[str, float]:
    by_slot: list[list[Rate | None]] = [[] for _ in range(SLOTS)]
    for (index, _director), point in mine.items():
        by_slot[index].append(rate(point))
    values = [found.packets if (found := together(rates)) else None for rates in by_slot]
    top = max((value for value in values if value is not None), default=0.0)
    return "".join(_digit(value, top) for value in values), round(top, 1)


def _digit(value: float | None, top: float) -> str:
    if value is None:
        return GAP
    if value <= 0 or top <= 0:
        return "0"
    return f"{max(1, round(value / top * HEIGHT)):x}"  # little is not nothing


def path(line: str) -> str:
    """SVG path of a line, in a box of 90 × 16: three units for each slot, the base line at 15."""
    parts: list[str] = []
    pen = False
    last = 0
    for index, digit in enumerate(line):
        if digit == GAP:
            pen = False
            continue
        height = int(digit, 16)
        parts.append(f"l3 {last - height}" if pen else f"M{index * 3 + 1} {HEIGHT - height}")
        if not pen and not (index + 1 < len(line) and line[index + 1] != GAP):
            parts.append("h1")  # a slot on its own would be no line at all
        pen, last = True, height
    return "".join(parts)
