"""A monitor: how the VIP on a server is checked."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, MonitorType
from webui.models.fields import Timestamped, object_name_validator


class Monitor(Timestamped):
    """Kind and timing of a check; names and defaults are NetScaler's (command reference 12.0)."""

    name = models.CharField(max_length=127, validators=[object_name_validator])
    monitor_type = models.CharField("type", max_length=16, choices=MonitorType)
    interval = models.PositiveIntegerField(
        default=5, validators=[MinValueValidator(1), MaxValueValidator(20940)], help_text="Seconds between checks."
    )
    resp_timeout = models.PositiveIntegerField(
        "response timeout",
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(20939)],
        help_text="Seconds to wait for the answer; less than the interval.",
    )
    retries = models.PositiveSmallIntegerField(
        default=3,
        validators=[MinValueValidator(1), MaxValueValidator(127)],
        help_text="Failed checks that make it DOWN.",
    )
    failure_retries = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(32)],
        help_text="Failures among the last “retries” checks that make it DOWN; 0: all of them, in a row.",
    )
    success_retries = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(32)],
        help_text="Successes in a row that make it UP.",
    )
    down_time = models.PositiveIntegerField(
        default=30,
        validators=[MinValueValidator(1), MaxValueValidator(20939)],
        help_text="Seconds between checks while DOWN.",
    )
    dest_port = models.PositiveIntegerField(
        "destination port", default=0, validators=[MaxValueValidator(65535)], help_text="0: the service's port."
    )
    reverse = models.BooleanField(default=False, help_text="A check that succeeds makes it DOWN.")
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    built_in = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(Lower("name"), name="monitor_name_unique")]

    def __str__(self) -> str:
        return self.name
