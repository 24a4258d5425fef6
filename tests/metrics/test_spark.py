from __future__ import annotations

from webui.metrics.series import Point
from webui.metrics.spark import SLOTS, path, sparklines

UNTIL = 1_800_000_000


def minute(at: int, packets: int, director: str = "a", key: str = "5") -> tuple[str, int, dict[str, Point]]:
    return director, at, {key: Point(60_000, packets)}


def test_heights_are_parts_of_the_highest_and_gaps_are_gaps() -> None:
    first = UNTIL - 3600
    found = [minute(first, 60), minute(first + 60, 60), minute(UNTIL - 240, 600), minute(UNTIL - 120, 1)]
    line, top = sparklines(found, UNTIL)["5"]
    assert line == "2" + "-" * (SLOTS - 3) + "f1"
    assert top == 10.0


def test_directors_add_up_and_what_is_outside_the_hour_is_left_out() -> None:
    found = [minute(UNTIL - 60, 60), minute(UNTIL - 60, 120, "b"), minute(UNTIL, 999), minute(UNTIL - 3660, 999)]
    assert sparklines(found, UNTIL) == {"5": ("-" * (SLOTS - 1) + "f", 3.0)}


def test_an_object_that_got_nothing_has_a_flat_line() -> None:
    assert sparklines([minute(UNTIL - 60, 0)], UNTIL)["5"] == ("-" * (SLOTS - 1) + "0", 0.0)


def test_a_path_moves_over_gaps_and_gives_a_lonely_slot_some_width() -> None:
    assert path("0f-1") == "M1 15l3 -15M10 14h1"
    assert path("") == ""
    assert path("---") == ""
