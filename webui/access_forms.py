"""Forms of users, accounts and logins. Whether it may be done is decided by ``webui.actions``."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from webui import roles
from webui.actions.account import LONGEST_DAYS
from webui.choices import Role
from webui.forms import ErrorsFromActions

RULES = "At least 12 characters; no common password, not numbers alone, and not like the user's name."
ROLES = [
    ("", "none: may do nothing"),
    (Role.READ_ONLY, "read-only: may look"),
    (Role.OPERATOR, "operator: may also enable and disable servers and services"),
    (Role.NETWORK, "network: may change everything but users; sees no audit and no configuration text"),
    (Role.SUPERUSER, "superuser: may do everything"),
]


class _Form(ErrorsFromActions, forms.Form):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


def _password(label: str, *, new: bool, help_text: str = "") -> forms.CharField:
    kind = "new-password" if new else "current-password"
    widget = forms.PasswordInput(attrs={"autocomplete": kind})
    return forms.CharField(label=label, strip=False, max_length=128, widget=widget, help_text=help_text)


class PasswordForm(_Form):
    """A new password, typed twice."""

    password = _password("New password", new=True, help_text=RULES)
    again = _password("The same again", new=True)

    def clean_again(self) -> str:
        """Refuse another text."""
        again = str(self.cleaned_data["again"])
        if again != self.data.get(self.add_prefix("password"), ""):
            raise ValidationError("This is not the same password.")
        return again


class OwnPasswordForm(PasswordForm):
    """The own password: the old one shows who it is."""

    old_password = _password("Old password", new=False)
    field_order = ["old_password", "password", "again"]

    def clean_password(self) -> str:
        """Judged here too, so that it is told together with a repetition that is another.

        Not for whose it is: what the old one has to do with it is told, and recorded, by the action alone.
        """
        password = str(self.cleaned_data["password"])
        validate_password(password)
        return password


class RoleForm(_Form):
    """Another role."""

    role = forms.ChoiceField(choices=ROLES, required=False)


class UserForm(PasswordForm):
    """A new user."""

    username = forms.CharField(
        max_length=150,
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none"}),
        help_text="Letters, digits and @ . + - _",
    )
    role = forms.ChoiceField(choices=ROLES, required=False, initial=Role.READ_ONLY)
    field_order = ["username", "role", "password", "again"]


class CodeForm(_Form):
    """A one-time password, or a recovery code."""

    code = forms.CharField(
        max_length=40,
        help_text="Six digits from your authenticator, or one of your recovery codes.",
        widget=forms.TextInput(
            attrs={"autocomplete": "one-time-code", "inputmode": "text", "spellcheck": "false", "autofocus": True}
        ),
    )


class TokenForm(_Form):
    """A new API token."""

    name = forms.CharField(
        max_length=64, help_text="What it is for.", widget=forms.TextInput(attrs={"autocomplete": "off"})
    )
    scope = forms.ChoiceField(help_text="The most that it may do; never more than your own role.")
    days = forms.IntegerField(label="Days until it expires", min_value=1, max_value=LONGEST_DAYS, initial=90)

    def __init__(self, *args: Any, role: Role | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        scope = self.fields["scope"]
        if isinstance(scope, forms.ChoiceField):
            scope.choices = [(one.value, one.label) for one in roles.up_to(role)]
