"""A monitor: how the VIP on a server is checked."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, MonitorType
from webui.models.fields import Problems, Timestamped, check_name, check_unchanged, object_name_validator
from webui.models.reasons import MONITOR_TYPES


class Monitor(Timestamped):
    """Kind and timing of a check; names and defaults are NetScaler's (command reference 12.0)."""

    reasons = {"monitor_type": MONITOR_TYPES}

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

    def clean(self) -> None:
        """Rules of the name, the timing and the port."""
        problems = Problems()
        old = self.stored()
        if old is not None and old.built_in:
            msg = f"“{old.name}” is built in and cannot be changed or disabled; make a monitor of your own instead."
            raise ValidationError(msg)
        if self.usable("name"):
            check_name(self, problems)
        if old is not None:
            check_unchanged(self, old, problems, {"monitor_type": "type"})
        self._check_timing(problems)
        if self.usable("monitor_type", "dest_port"):
            self._check_port(old, problems)
        problems.tell()

    def _check_timing(self, problems: Problems) -> None:
        if self.usable("interval", "resp_timeout") and self.resp_timeout >= self.interval:
            problems["resp_timeout"].append(
                f"The response timeout ({self.resp_timeout} s) must be shorter than the interval ({self.interval} s)."
            )
        if self.usable("retries", "failure_retries") and self.failure_retries > self.retries:
            problems["failure_retries"].append(
                f"{self.failure_retries} failures cannot be among the last {self.retries} checks: failure retries "
                "must not be more than retries."
            )

    def _check_port(self, old: Monitor | None, problems: Problems) -> None:
        if self.monitor_type == MonitorType.PING and self.dest_port:
            problems["dest_port"].append(f"A PING has no port; {self.dest_port} must be 0.")
        if self.monitor_type != MonitorType.TCP or self.dest_port or old is None or not old.dest_port:
            return
        from webui.models.service import no_port_to_connect_to  # noqa: PLC0415 - services know monitors

        for binding in self.service_bindings.select_related("service"):
            if reason := no_port_to_connect_to(binding.service):
                problems["dest_port"].append(f"Without it there is no port to connect to: {reason}.")
