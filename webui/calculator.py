"""How much of a service's traffic a balancer carries, by proxy and with DSR; ``static/calculator.js`` does the same."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from django import forms

MOST_MBIT = 10_000_000.0


@dataclass(frozen=True, slots=True)
class Load:
    """Traffic in Mbit/s at its peak: what clients send to the VIP, what they get, and what the licence allows."""

    requests: float
    replies: float
    tier: float

    @property
    def proxy(self) -> float:
        """What passes a balancer that proxies: both directions."""
        return self.requests + self.replies

    @property
    def dsr(self) -> float:
        """What passes a director: the requests."""
        return self.requests

    @property
    def factor(self) -> float:
        """How many times as much service the same licence carries with DSR."""
        return self.proxy / self.requests if self.requests else inf

    def lines(self) -> list[tuple[str, str]]:
        """(subject, result) in words."""
        return [
            ("Through a balancer that proxies", f"{number(self.proxy)} Mbit/s: {self._fits(self.proxy)}"),
            ("Through the director with DSR", f"{number(self.dsr)} Mbit/s: {self._fits(self.dsr)}"),
            (
                "The same licence carries",
                "any amount" if self.factor == inf else f"{number(self.factor)} times as much",
            ),
        ]

    def _fits(self, load: float) -> str:
        if load <= self.tier:
            return f"fits in {number(self.tier)} Mbit/s"
        return f"exceeds {number(self.tier)} Mbit/s, packets queue"


def number(value: float) -> str:
    """At most one digit after the point."""
    return f"{value:.1f}".removesuffix(".0")


class CalculatorForm(forms.Form):
    """The three figures; the defaults are a provisioning service of many large downloads."""

    requests = forms.FloatField(label="Requests to the VIP, Mbit/s", min_value=0, max_value=MOST_MBIT, initial=4)
    replies = forms.FloatField(label="Replies from it, Mbit/s", min_value=0, max_value=MOST_MBIT, initial=400)
    tier = forms.FloatField(label="Licence, Mbit/s", min_value=0, max_value=MOST_MBIT, initial=5)

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
        self.label_suffix = ""

    def load(self) -> Load:
        """What is asked, or the defaults while nothing is; only of a form without errors."""
        given = self.cleaned_data if self.is_bound else {name: field.initial for name, field in self.fields.items()}
        return Load(given["requests"], given["replies"], given["tier"])
