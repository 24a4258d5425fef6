"""Figures, their goals, and how both are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Literal


@dataclass(frozen=True, slots=True)
class Goal:
    """What a value should be."""

    relation: Literal["≤", "≥"]
    limit: float

    def met(self, value: float) -> bool:
        """Whether the value is on the right side; exactly on it is."""
        return value <= self.limit if self.relation == "≤" else value >= self.limit


@dataclass(frozen=True, slots=True)
class Figure:
    """One result. ``spread``: least and greatest of the rounds. ``raw``: what it was worked out from, by name."""

    section: str
    name: str
    unit: str
    value: float
    spread: tuple[float, float] | None = None
    goal: Goal | None = None
    raw: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """The figure with all that led to it."""
        made: dict[str, object] = {"section": self.section, "name": self.name, "unit": self.unit, "value": self.value}
        if self.spread:
            made["spread"] = self.spread
        if self.goal:
            made |= {"goal": f"{self.goal.relation} {self.goal.limit:g}", "met": self.goal.met(self.value)}
        return made | ({"raw": self.raw} if self.raw else {})


def number(value: float) -> str:
    """Three significant digits, thousands grouped."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(figures: Sequence[Figure]) -> str:
    """The figures as text, section by section."""
    lines = []
    for section, members in groupby(figures, key=lambda figure: figure.section):
        rows = [_row(figure) for figure in members]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines.append(section)
        for name, value, spread, goal, raw in rows:
            cells = (name.ljust(widths[0]), value.rjust(widths[1]), spread.ljust(widths[2]), goal.ljust(widths[3]), raw)
            lines.append("  " + "  ".join(cells).rstrip())
        lines.append("")
    return "\n".join(lines)


def _row(figure: Figure) -> tuple[str, str, str, str, str]:
    spread = f"({number(figure.spread[0])} to {number(figure.spread[1])})" if figure.spread else ""
    goal = ""
    if figure.goal:
        verdict = "met" if figure.goal.met(figure.value) else "NOT MET"
        goal = f"goal {figure.goal.relation} {figure.goal.limit:g}: {verdict}"
    raw = ", ".join(f"{name} {number(value)}" for name, value in figure.raw.items())
    return figure.name, f"{number(figure.value)} {figure.unit}", spread, goal, raw
