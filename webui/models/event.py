"""Where events are sent, and how far each target is."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState
from webui.events.kind import TargetKind
from webui.events.kinds import KINDS
from webui.models.fields import Problems, Timestamped, check_name, check_unchanged, object_name_validator
from webui.models.sealed import CannotOpenError, SealedField, names_of, opened


class EventTarget(Timestamped):
    """A syslog collector, recipients of e-mail, or a webhook, and which kinds of event it gets.

    ``params`` has every parameter of the kind by name, but for secret ones: those are in ``secrets``, encrypted.
    """

    name = models.CharField(max_length=127, validators=[object_name_validator])
    target_type = models.CharField("type", max_length=16)
    params = models.JSONField("parameters", default=dict, blank=True)
    secrets = SealedField(default="", blank=True)
    transitions = models.BooleanField(
        "changes of state", default=True, help_text="A monitor found a service UP or DOWN at a VIP."
    )
    alerts = models.BooleanField(default=True, help_text="A monitor's alertRetries were reached.")
    alarms = models.BooleanField(default=True, help_text="Checks stall, or fail-open keeps failing services in use.")
    director_events = models.BooleanField(
        "events of directors", default=True, help_text="A flood of SYNs began or ended, for example."
    )
    audit = models.BooleanField(
        "audit entries",
        default=False,
        help_text="Every change, login, refused attempt and applied revision, with its hash.",
    )
    give_up_hours = models.PositiveSmallIntegerField(
        "give up after (h)",
        default=24,
        validators=[MinValueValidator(1), MaxValueValidator(720)],
        help_text="An event that could not be sent for so long is dropped, and counted.",
    )
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        permissions = [("enable_eventtarget", "Can enable and disable event targets")]
        constraints = [models.UniqueConstraint(Lower("name"), name="event_target_name_unique")]

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> TargetKind | None:
        """The kind; None when there is none of that name."""
        return KINDS.get(self.target_type)

    @property
    def secret_names(self) -> frozenset[str]:
        """Names of the secrets that are set; none when they cannot be decrypted any more."""
        return names_of(self.secrets)

    def clean(self) -> None:
        """Rules of the name, the kind and its parameters."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems)
        old = self.stored()
        if old is not None:
            check_unchanged(self, old, problems, {"target_type": "type"})
        if self.usable("target_type"):
            self._check_parameters(problems)
        problems.tell()

    def _check_parameters(self, problems: Problems) -> None:
        """Complete ``params`` with defaults, or tell what is wrong with each parameter."""
        kind = self.kind
        if kind is None:
            problems.alone("target_type", f"“{self.target_type}” is no type of target: {', '.join(KINDS)}.")
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


class EventDelivery(models.Model):
    """How far a target is: one row each, written by whoever delivers.

    Rows of HealthTransition up to ``health_upto`` are done, and those beyond it that ``health_sent`` lists; the same of
    DirectorEvent and AuditEntry. A row is free while ``claimed_until`` is null or past; that moment is also the claim's
    token.
    """

    target = models.OneToOneField(EventTarget, on_delete=models.CASCADE, related_name="delivery")
    health_upto = models.PositiveBigIntegerField(default=0)
    health_sent = models.JSONField(default=list, blank=True)
    director_upto = models.PositiveBigIntegerField(default=0)
    director_sent = models.JSONField(default=list, blank=True)
    audit_upto = models.PositiveBigIntegerField(default=0)
    audit_sent = models.JSONField(default=list, blank=True)
    claimed_until = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True, help_text="After a failure: not before.")
    failures = models.PositiveIntegerField(default=0, help_text="Deliveries that failed in a row.")
    last_error = models.CharField(max_length=255, blank=True)
    last_error_at = models.DateTimeField(null=True, blank=True)
    last_delivery_at = models.DateTimeField(null=True, blank=True)
    sent = models.PositiveBigIntegerField(default=0)
    dropped = models.PositiveBigIntegerField(default=0)
    test_asked_at = models.DateTimeField(null=True, blank=True, help_text="A test event is to be sent.")
    test_result = models.CharField(max_length=255, blank=True)

    def __str__(self) -> str:
        return f"{self.target}: {self.sent} sent, {self.dropped} dropped"
