"""A monitor: how the VIP on a server is checked."""

from __future__ import annotations

from typing import Final

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from monitors.kind import Kind, Secure
from monitors.registry import KINDS
from webui.choices import UNIT_SECONDS, UNIT_SYMBOL, AdminState, TimeUnit
from webui.models.fields import Problems, Timestamped, check_name, check_unchanged, object_name_validator
from webui.models.reasons import MONITOR_TYPES
from webui.models.sealed import CannotOpenError, SealedField, names_of, opened

LONGEST_INTERVAL: Final = 20940.0  # seconds; NetScaler's
LONGEST: Final = 20939.0  # of the other times
SHORTEST_INTERVAL: Final = 0.2  # seconds; results are recorded a tenth of a second after they came
# Each time of a monitor: its label, its limit in seconds, and the name of its unit (NetScaler's lbmonitor has 1 to 4).
TIMES: Final = {
    "interval": ("interval", LONGEST_INTERVAL, "units3"),
    "resp_timeout": ("response timeout", LONGEST, "units4"),
    "down_time": ("down time", LONGEST, "units2"),
    "deviation": ("deviation", LONGEST, "units1"),
    "retry_interval": ("retry interval", LONGEST, "units5"),  # ours
}


def unit_field(of: str) -> models.CharField[str, str]:
    """The unit of one of the times."""
    return models.CharField(f"unit of the {TIMES[of][0]}", max_length=4, choices=TimeUnit, default=TimeUnit.SEC)


class Monitor(Timestamped):
    """Kind and timing of a check; names and defaults are NetScaler's (command reference 12.0).

    ``params`` has every parameter of the kind by name, but for secret ones: those are in ``secrets``, encrypted.
    """

    reasons = {"monitor_type": {name: why for name, why in MONITOR_TYPES.items() if name not in KINDS}}

    finds_twins = True

    name = models.CharField(max_length=127, validators=[object_name_validator])
    monitor_type = models.CharField("type", max_length=32)
    interval = models.PositiveIntegerField(
        default=5, validators=[MinValueValidator(1)], help_text="Time between checks, at least 200 ms."
    )
    interval_unit = unit_field("interval")
    resp_timeout = models.PositiveIntegerField(
        "response timeout",
        default=2,
        validators=[MinValueValidator(1)],
        help_text="Time to wait for the answer; less than the interval.",
    )
    resp_timeout_unit = unit_field("resp_timeout")
    resp_timeout_thresh = models.PositiveSmallIntegerField(
        "response timeout threshold (%)",
        default=0,
        validators=[MaxValueValidator(100)],
        help_text="Share of the response timeout that a check may take before it is noted as an alert; 0: none.",
    )
    retry_interval = models.PositiveIntegerField(
        default=0,
        help_text="Time between checks while a change of state is confirmed, from the beginning of one to that of the "
        "next, which waits for the end of the first; 0: the interval.",
    )
    retry_interval_unit = unit_field("retry_interval")
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
        default=30, validators=[MinValueValidator(1)], help_text="Time between checks while DOWN."
    )
    down_time_unit = unit_field("down_time")
    alert_retries = models.PositiveSmallIntegerField(
        default=0,
        validators=[MaxValueValidator(32)],
        help_text="Failed checks in a row that are noted as an alert, whatever the state; 0: none.",
    )
    lrtm = models.BooleanField(
        "learn response times",
        default=False,
        help_text="The time that answers take is averaged; with a deviation, slower ones fail.",
    )
    deviation = models.PositiveIntegerField(
        default=0,
        help_text="Time above the average response time that an answer may take; 0: the response timeout alone.",
    )
    deviation_unit = unit_field("deviation")
    dest_ip = models.GenericIPAddressField(
        "destination IP", null=True, blank=True, help_text="Empty, or the VIP: checks always go to the VIP."
    )
    dest_port = models.PositiveIntegerField(
        "destination port", default=0, validators=[MaxValueValidator(65535)], help_text="0: the service's port."
    )
    transparent = models.BooleanField(
        default=False, help_text="Without effect: every check goes to the VIP by the server's MAC address."
    )
    secure = models.BooleanField(default=False, help_text="Check through TLS.")
    reverse = models.BooleanField(default=False, help_text="A check that succeeds makes it DOWN.")
    params = models.JSONField("parameters", default=dict, blank=True)
    secrets = SealedField(default="", blank=True)
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    built_in = models.BooleanField(default=False, editable=False)

    class Meta:
        ordering = ["name"]
        permissions = [("enable_monitor", "Can enable and disable monitors")]
        constraints = [models.UniqueConstraint(Lower("name"), name="monitor_name_unique")]

    def __str__(self) -> str:
        return self.name

    def seconds(self, name: str) -> float:
        """One of the TIMES in seconds."""
        value: int = getattr(self, name)
        return value * UNIT_SECONDS[getattr(self, f"{name}_unit")]

    def time_text(self, name: str) -> str:
        """One of the TIMES with its unit: ``500 ms``."""
        return f"{getattr(self, name)} {UNIT_SYMBOL[getattr(self, f'{name}_unit')]}"

    @property
    def kind(self) -> Kind | None:
        """The kind; None when there is none of that name."""
        return KINDS.get(self.monitor_type)

    @property
    def secret_names(self) -> frozenset[str]:
        """Names of the secrets that are set; none when they cannot be decrypted any more."""
        return names_of(self.secrets)

    def clean(self) -> None:
        """Rules of the name, the timing, the kind and its parameters."""
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
        if self.usable("monitor_type"):
            self._check_kind(old, problems)
        problems.tell()

    def _check_timing(self, problems: Problems) -> None:
        usable = [name for name in TIMES if self.usable(name, f"{name}_unit")]
        for name in usable:
            label, longest, _option = TIMES[name]
            if self.seconds(name) > longest:
                problems[name].append(f"The {label} ({self.time_text(name)}) is more than {longest:g} s.")
        if "interval" in usable and self.seconds("interval") < SHORTEST_INTERVAL:
            problems["interval"].append(f"The interval ({self.time_text('interval')}) is shorter than 200 ms.")
        if {"interval", "resp_timeout"} <= set(usable) and self.seconds("resp_timeout") >= self.seconds("interval"):
            problems["resp_timeout"].append(
                f"The response timeout ({self.time_text('resp_timeout')}) must be shorter than the interval "
                f"({self.time_text('interval')})."
            )
        if {"interval", "retry_interval"} <= set(usable) and self.retry_interval:
            self._check_retry_interval(problems)
        if self.usable("retries", "failure_retries") and self.failure_retries > self.retries:
            problems["failure_retries"].append(
                f"{self.failure_retries} failures cannot be among the last {self.retries} checks: failure retries "
                "must not be more than retries."
            )
        if "deviation" in usable and self.usable("lrtm") and self.deviation and not self.lrtm:
            problems["deviation"].append(
                f"A deviation ({self.time_text('deviation')}) is from the average response time: set learn response "
                "times too."
            )

    def _check_retry_interval(self, problems: Problems) -> None:
        shown = f"The retry interval ({self.time_text('retry_interval')})"
        if self.seconds("retry_interval") > self.seconds("interval"):
            problems["retry_interval"].append(f"{shown} is longer than the interval ({self.time_text('interval')}).")
        if self.seconds("retry_interval") < SHORTEST_INTERVAL:
            problems["retry_interval"].append(f"{shown} is shorter than 200 ms.")

    def _check_kind(self, old: Monitor | None, problems: Problems) -> None:
        kind = self.kind
        if kind is None:
            problems.alone("monitor_type", f"“{self.monitor_type}” is no type of monitor: {', '.join(KINDS)}.")
            return
        if self.usable("secure"):
            self._check_secure(kind, problems)
        if self.usable("dest_ip"):
            self._check_destination(problems)
        if self.usable("dest_port"):
            self._check_port(kind, old, problems)
        self._check_parameters(kind, problems)

    def _check_secure(self, kind: Kind, problems: Problems) -> None:
        if kind.secure is Secure.ALWAYS:
            self.secure = True
        elif self.secure and kind.secure is Secure.NO:
            problems["secure"].append(f"{kind.name} checks cannot go through TLS.")

    def _check_destination(self, problems: Problems) -> None:
        if not self.dest_ip:
            return
        vservers = apps.get_model("webui", "VServer")._default_manager  # whose module knows this one
        bound = vservers.filter(service_bindings__service__monitor_bindings__monitor=self.pk or 0)
        elsewhere = set(bound.values_list("address", flat=True)) - {self.dest_ip}
        if elsewhere or not vservers.filter(address=self.dest_ip).exists():
            of = (
                f"it is bound for {', '.join(sorted(elsewhere))}" if elsewhere else "no virtual server has that address"
            )
            problems["dest_ip"].append(
                f"A check goes to the VIP on the bound server, always: destination IP {self.dest_ip} is refused, since "
                f"{of}. Leave it empty."
            )

    def _check_port(self, kind: Kind, old: Monitor | None, problems: Problems) -> None:
        if not kind.uses_port and self.dest_port:
            problems["dest_port"].append(f"A {kind.name} has no port; {self.dest_port} must be 0.")
        if self.dest_port or old is None or not old.dest_port:
            return
        from webui.models.service import no_port_to_connect_to  # noqa: PLC0415 - services know monitors

        for binding in self.service_bindings.select_related("service"):
            if reason := no_port_to_connect_to(kind, binding.service):
                problems["dest_port"].append(f"Without it there is no port to connect to: {reason}.")

    def _check_parameters(self, kind: Kind, problems: Problems) -> None:
        """Complete ``params`` with defaults, or tell what is wrong with each parameter."""
        if not isinstance(self.params, dict):
            problems["params"].append("Parameters must be an object: names and values.")
            return
        try:
            secrets = opened(self.secrets)
        except CannotOpenError as error:
            problems["secrets"].append(f"{error} Type them in again.")
            return
        values, wrong = kind.clean(self.params | secrets)
        alone = kind.problems_of_each(self.params | secrets)
        for name, text in wrong.items():
            if name in alone:
                problems.alone(name, text)
            else:
                problems[name].append(text)
        if not wrong:
            self.params = {name: value for name, value in values.items() if name not in kind.secrets}
