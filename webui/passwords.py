"""Passwords that their users did not choose: generated at first start, or set by somebody else."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.core.exceptions import ValidationError

from webui.choices import PasswordOrigin
from webui.models import GivenPassword


def give(user: User, origin: PasswordOrigin, by: str = "") -> None:
    """Remember that the user's password, which was just saved, is not the user's own choice."""
    GivenPassword.objects.update_or_create(user=user, defaults={"origin": origin, "given_by": by[:150]})


def given_to(user: User | AnonymousUser) -> GivenPassword | None:
    """How the user came to a password of somebody else's choice; None once another was chosen. One query."""
    return GivenPassword.objects.filter(user=user.pk).first() if user.pk else None


class AnotherThanGiven:
    """One of AUTH_PASSWORD_VALIDATORS: a password that was given ends with the choice of another, never of itself.

    Django tells every validator of each password that was saved, so ``manage.py changepassword`` counts too; that it
    hashes one anew at a login is no change.
    """

    def validate(self, password: str, user: AbstractBaseUser | None = None) -> None:
        """Refuse the password that was given. Raises ValidationError."""
        if user is not None and GivenPassword.objects.filter(user=user.pk).exists() and user.check_password(password):
            raise ValidationError("This is the password that was given: choose another.", code="password_was_given")

    def get_help_text(self) -> str:
        """The rule in words."""
        return "Your password can't be the one that was given to you."

    def password_changed(self, _password: str, user: AbstractBaseUser | None = None) -> None:
        """Forget where the one before came from."""
        if user is not None and user.pk:
            GivenPassword.objects.filter(user=user.pk).delete()
