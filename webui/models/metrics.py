"""What directors counted, over time. Written by the task ``webui.metrics.tasks.keep`` alone; bounded by age."""

from __future__ import annotations

from django.db import models


class MetricBlock(models.Model):
    """Points of up to 64 objects of a kind, as one director counted them in one bucket of time.

    ``kind``: vservers, services or reasons. ``block``: row numbers divided by 64. ``data``: see
    :func:`webui.metrics.series.pack`. Buckets of ``step`` seconds begin ``at`` a multiple of it.
    """

    director = models.CharField(max_length=64)
    kind = models.CharField(max_length=16)
    block = models.PositiveIntegerField()
    step = models.PositiveSmallIntegerField(help_text="Seconds that the bucket lasts: 10, 60 or 3600.")
    at = models.PositiveBigIntegerField(help_text="When it begins, Unix time in seconds.")
    data = models.BinaryField()

    class Meta:
        constraints = [
            # In the order in which a chart asks.
            models.UniqueConstraint(fields=["kind", "block", "step", "at", "director"], name="metric_block_unique")
        ]
        indexes = [models.Index(fields=["step", "at"], name="metric_block_age")]  # rolling up and trimming

    def __str__(self) -> str:
        return f"{self.kind} {self.block} of {self.director}: {self.step} s from {self.at}"


class MetricCursor(models.Model):
    """Up to where a director's counters are recorded, and what they stood at then.

    It moves in the transaction that writes what was counted, so nothing is recorded twice.
    """

    director = models.CharField(max_length=64, unique=True)
    taken_at = models.DateTimeField(help_text="When the director read them, by its clock.")
    reading = models.BinaryField(help_text="As metrics.series.pack_reading writes it.")

    def __str__(self) -> str:
        return f"{self.director} up to {self.taken_at}"


class Sparklines(models.Model):
    """The last hour of every virtual server, made once a minute for the dashboard. One row, number 1.

    ``lines``: {row: [heights, most packets per second]}; heights are hexadecimal digits, each for two minutes, the last
    one ends at ``until``; - where nothing was counted.
    """

    until = models.DateTimeField()
    lines = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"sparklines of {len(self.lines)} virtual servers until {self.until}"
