from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from webui import passwords
from webui.choices import PasswordOrigin

NAME = "admin"


class Command(BaseCommand):
    help = "At first start, make the superuser “admin” with a generated password, written to a file only you can read."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--password-file", type=Path, required=True, help="Where the password is written.")

    def handle(self, *_args: Any, password_file: Path, **_options: Any) -> None:
        found = User.objects.filter(username=NAME).first()
        if found is not None:
            self._leave_alone(found, password_file)
            return
        password = secrets.token_urlsafe(15)
        with transaction.atomic():
            user = User.objects.create_superuser(NAME, password=password)
            passwords.give(user, PasswordOrigin.GENERATED)
            write_secret(password_file, password)  # when it cannot be written, there is no user either
        self.stdout.write(f"Made user “{NAME}”; the password is in {password_file}.")

    def _leave_alone(self, user: User, password_file: Path) -> None:
        if password_file.exists():
            self._mark(user, password_file)
            self.stdout.write(f"User “{NAME}” exists; the first password is in {password_file}.")
            return
        self.stdout.write(
            f"User “{NAME}” exists, but {password_file} does not: the password is known only to whoever kept it. "
            f"Set a new one with: manage.py changepassword {NAME}"
        )

    def _mark(self, user: User, password_file: Path) -> None:
        """Installations that are older than the mark get it as well, as long as the password is that of the file."""
        if passwords.given_to(user) is None and check_password(_read(password_file), user.password):
            passwords.give(user, PasswordOrigin.GENERATED)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        msg = f"Cannot read the password file {path}: {error}."
        raise CommandError(msg) from error


def write_secret(path: Path, secret: str) -> None:
    """Write a text that only the caller may read (mode 0600), replacing a left-over file.

    Raises CommandError when the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)  # a file made anew cannot be a link to elsewhere, nor open to others
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secret + "\n")
    except OSError as error:
        msg = f"Cannot write the password file {path}: {error.strerror}."
        raise CommandError(msg) from error
