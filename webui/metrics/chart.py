"""A line chart as the numbers of an SVG: paths, grid and ticks. Pure; templates/partials/chart.html draws it.

The box is 360 × 150 units and is shown at one to two times that, so that text of 11 units can be read on a phone too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

WIDTH: Final = 360
HEIGHT: Final = 150
LEFT: Final = 52
RIGHT: Final = 6
TOP: Final = 8
BOTTOM: Final = 20

Values = Sequence[float | None]

# A reading falls now and then just beside its slot: so many empty slots between two full ones are no gap.
BRIDGED: Final = 1

Label = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid, where it is in the box, and what stands at it."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the SVG needs; ``line``, ``area`` and ``peak`` are path data, ``xs`` the range of the plot."""

    line: str
    area: str
    peak: str
    across: tuple[Tick, ...]
    down: tuple[Tick, ...]


def nice(top: float) -> float:
    """The least of 1, 2, 2.5, 5 and 10 times a power of ten that is not below ``top``; 1 for nothing."""
    if not math.isfinite(top) or top <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(top))
    for step in (1, 2, 2.5, 5):
        if step * power >= top:
            return step * power
    return 10 * power


@dataclass(frozen=True, slots=True)
class Time:
    """The horizontal axis: Unix time of the first slot, seconds of each, and seconds between the labels."""

    begin: int
    slot: int
    zone: tzinfo
    every: int


def draw(values: Values, peaks: Values, time: Time, label: Label) -> Drawn:
    """A chart of values and, fainter, of peaks, which are as many or none. ValueError otherwise, and for no slot."""
    if not values or len(peaks) not in {0, len(values)}:
        msg = f"{len(values)} values and {len(peaks)} peaks: at least one value, and as many peaks or none."
        raise ValueError(msg)
    # The smallest floats could not be divided by; of nothing that is counted is there so little.
    top = nice(max((one for one in (*values, *peaks) if one is not None and one > 1e-9), default=0))
    return Drawn(
        line=_path(_lines(values, top, len(values))),
        area=_area(_lines(values, top, len(values))),
        peak=_path(_lines(peaks, top, len(values))),
        across=tuple(Tick(_y(part * top / 4, top), label(part * top / 4)) for part in (0, 2, 4)),
        down=tuple(_times(time, len(values))),
    )


def _x(index: float, slots: int) -> float:
    return round(LEFT + (WIDTH - LEFT - RIGHT) * (index + 0.5) / slots, 1)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / top, 1)


def _lines(values: Values, top: float, slots: int) -> list[list[tuple[float, float]]]:
    """Stretches without a gap, in units of the box."""
    found: list[list[tuple[float, float]]] = []
    last = -2 - BRIDGED
    for index, value in enumerate(values):
        if value is None:
            continue
        if index - last > 1 + BRIDGED:
            found.append([])
        found[-1].append((_x(index, slots), _y(value, top)))
        last = index
    return found


def _path(lines: list[list[tuple[float, float]]]) -> str:
    # A slot on its own would be no line: give it a little width.
    return "".join("M" + "L".join(f"{x:g} {y:g}" for x, y in line) + ("h1" if len(line) == 1 else "") for line in lines)


def _area(lines: list[list[tuple[float, float]]]) -> str:
    floor = HEIGHT - BOTTOM
    return "".join(
        f"M{line[0][0]:g} {floor}L" + "L".join(f"{x:g} {y:g}" for x, y in line) + f"L{line[-1][0]:g} {floor}Z"
        for line in lines
        if len(line) > 1
    )


def _times(time: Time, slots: int) -> list[Tick]:
    """Labels where the zone's clock shows a multiple of ``every`` seconds; of days, where a day begins."""
    slot, every = time.slot, time.every
    found: list[Tick] = []
    days = max(1, every // 86400)
    last_day = None
    for index in range(slots):
        at = datetime.fromtimestamp(time.begin + index * slot, time.zone)
        seconds = at.hour * 3600 + at.minute * 60 + at.second
        if every >= 86400:
            due = last_day is not None and at.date() != last_day and at.toordinal() % days == 0
            text = f"{at:%d %b}".lstrip("0")
        else:
            due, text = seconds % every < slot, f"{at:%H:%M}"
        last_day = at.date()
        if due:
            found.append(Tick(round(_x(index - 0.5, slots), 1), text))
    return [tick for tick in found if tick.at < WIDTH - 18 and tick.at > LEFT + 4]


def summary(values: Values, peaks: Values, label: Label) -> str:
    """Latest, average and most, in words, for those who do not see the line; the most is that of the peaks, if any."""
    known = [one for one in values if one is not None]
    if not known:
        return "nothing was counted"
    most = max(value for value in (*known, *peaks) if value is not None)
    return f"now {label(known[-1])}, on average {label(sum(known) / len(known))}, at most {label(most)}"
