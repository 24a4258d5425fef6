"""Who may come in, and with what: second factors, API tokens, sessions by user, and the edition of all that."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Any, ClassVar, Final

from django.conf import settings
from django.db import models
from django.utils import timezone
from django_otp.models import Device, ThrottlingMixin, TimestampMixin
from django_otp.oath import TOTP

from webui.choices import PasswordOrigin, Role
from webui.models.sealed import CannotOpenError, SealedField, opened, seal

DIGITS: Final = 6
STEP: Final = 30  # seconds
TOLERANCE: Final = 1  # steps before and after


def digest(secret: str) -> str:
    """SHA-256, hexadecimal. For secrets of much chance alone: what people choose needs a slow function."""
    return hashlib.sha256(secret.encode()).hexdigest()


class SecondFactor(TimestampMixin, ThrottlingMixin, Device):  # type: ignore[misc] # the library has no types
    """A device that shows time-based one-time passwords (RFC 6238), and recovery codes in its place.

    The key is encrypted at rest, as monitors' secrets are; of recovery codes there are only digests. Failures delay
    the next attempt: 1, 2, 4, 8 … seconds (django-otp's throttling).
    """

    sealed_key = SealedField(editable=False)
    drift = models.SmallIntegerField(default=0, help_text="Steps by which its clock is known to be wrong.")
    last_step = models.BigIntegerField(default=-1, help_text="Step of the last password; none is taken twice.")
    recovery = models.JSONField(default=list, help_text="SHA-256 of each recovery code that is left.")

    class Meta(Device.Meta):  # type: ignore[misc] # as above
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["user"], name="second_factor_of_user")
        ]

    @property
    def key(self) -> bytes:
        """The shared secret, 20 bytes. Raises CannotOpenError."""
        return bytes.fromhex(opened(self.sealed_key)["key"])

    @key.setter
    def key(self, key: bytes) -> None:
        self.sealed_key = seal({"key": key.hex()})

    def verify_token(self, token: Any) -> bool:
        """Whether it is the password of now, or a recovery code that is left; neither is taken twice.

        Call it with the row locked, as :func:`django_otp.verify_token` does.
        """
        allowed, _why = self.verify_is_allowed()
        if not allowed:
            return False
        given = "".join(str(token).split()).replace("-", "").upper()
        if not (self._matches(given) if len(given) == DIGITS else self._recovers(given)):
            self.throttle_increment(commit=True)
            return False
        self.throttle_reset(commit=False)
        self.set_last_used_timestamp(commit=False)
        self.save()
        return True

    def _matches(self, given: str) -> bool:
        if not given.isascii() or not given.isdecimal():
            return False
        try:
            totp = TOTP(self.key, STEP, 0, DIGITS, self.drift)
        except CannotOpenError:  # a recovery code still works
            return False
        totp.time = time.time()
        if not totp.verify(int(given), TOLERANCE, self.last_step + 1):
            return False
        self.last_step, self.drift = totp.t(), totp.drift
        return True

    def _recovers(self, given: str) -> bool:
        mine = digest(given)
        left = [one for one in self.recovery if not hmac.compare_digest(one, mine)]
        found = len(left) < len(self.recovery)
        self.recovery = left
        return found

    def get_throttle_factor(self) -> float:
        """Seconds to wait after the first failure."""
        return 1.0


class ApiToken(models.Model):
    """A token by which a program acts for a user, with at most the permissions of a role. Revoked ones stay listed."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=16, help_text="Its first characters, to recognise it by.")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the token, hexadecimal.")
    scope = models.CharField(max_length=16, choices=Role.choices)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True, help_text="To the minute.")

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class GivenPassword(models.Model):
    """That a user's password is not the user's own choice. It goes when another is chosen: webui/passwords.py."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="given_password"
    )
    origin = models.CharField(max_length=16, choices=PasswordOrigin.choices)
    given_by = models.CharField(max_length=150, blank=True)
    given_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        """What follows “the password …”."""
        return f"was set by {self.given_by}" if self.given_by else PasswordOrigin(self.origin).label


class LoginSession(models.Model):
    """Whose a session is, and from where it was begun: Django's own table does not tell."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="login_sessions")
    session_key = models.CharField(max_length=40, unique=True)
    began_at = models.DateTimeField(default=timezone.now)
    seen_at = models.DateTimeField(default=timezone.now, help_text="To a quarter of an hour.")
    source_address = models.GenericIPAddressField(null=True)
    user_agent = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["-began_at"]

    def __str__(self) -> str:
        return f"{self.user} since {self.began_at:%Y-%m-%d %H:%M:%S}"


class AccessEdition(models.Model):
    """The one row (pk 1) whose number moves with every change of users, roles and sessions.

    A websocket compares it before each message, which costs less than asking for session, user and permissions.
    """

    edition = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"edition {self.edition}"
