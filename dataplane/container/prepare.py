"""The first container of a start: checks the settings, and makes the secrets if there are none.

``python -m dataplane.container.prepare``, with the project's folder mounted at /project. Ends with 1 and a sentence
that names the setting when one is unknown, missing or nonsense; nothing else is started then.
"""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network
from pathlib import Path

PROJECT = Path("/project")
SECRETS = Path("/var/lib/halfpipe/secrets")
POSTGRES_SECRET = Path("/var/lib/halfpipe/postgres")
EXAMPLE = Path(__file__).resolve().parents[2] / ".env.example"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_NAME = re.compile(r"^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=", re.MULTILINE)
_EXAMPLE_NAME = re.compile(r"^#?([A-Z_][A-Z0-9_]*)=", re.MULTILINE)


class SettingError(Exception):
    """A setting that stops the start; the text is a sentence for whoever wrote .env."""


def known_settings(example: str) -> frozenset[str]:
    """Every name that .env.example explains."""
    return frozenset(_EXAMPLE_NAME.findall(example))


def require_known(dotenv: str, known: Iterable[str]) -> None:
    """Raise SettingError when .env sets something that nobody reads."""
    known = set(known)
    unknown = sorted(set(_NAME.findall(dotenv)) - known)
    if unknown:
        raise SettingError(
            f"{', '.join(unknown)} in .env is no setting of Halfpipe: remove it, or see .env.example for its name."
        )


def require_sense(environment: Mapping[str, str]) -> None:
    """Raise SettingError for what is missing, or cannot be meant. The console's settings check the rest."""
    profiles = {name.strip() for name in environment.get("COMPOSE_PROFILES", "").split(",")} - {""}
    if unknown := sorted(profiles - {"lab", "host"}):
        raise SettingError(f"COMPOSE_PROFILES={','.join(unknown)} is no profile: use host or lab.")
    if profiles == {"lab", "host"}:
        raise SettingError("COMPOSE_PROFILES=lab,host asks for both profiles: use host or lab.")
    if "host" in profiles and not environment.get("HALFPIPE_INTERFACES", "").strip():
        raise SettingError(
            "HALFPIPE_INTERFACES is not set: name in .env the interface by which clients' packets come in, e.g. eth0."
        )
    level = environment.get("HALFPIPE_LOG_LEVEL", "INFO")
    if level not in LEVELS:
        raise SettingError(f"HALFPIPE_LOG_LEVEL={level} is no level: use {', '.join(LEVELS)}.")
    prefix = environment.get("LAB_PREFIX", "10.77.0")
    try:
        IPv4Network(f"{prefix}.0/24")
    except ValueError as error:
        raise SettingError(f"LAB_PREFIX={prefix} is not the beginning of an IPv4 network: use 10.77.0.") from error


def require_parsable() -> None:
    """Raise SettingError for what the console's settings refuse."""
    from django.core.exceptions import ImproperlyConfigured  # noqa: PLC0415 - costs time, and reads the environment

    try:
        import django  # noqa: PLC0415 - as above
        from django.core.checks import ERROR, run_checks  # noqa: PLC0415 - as above

        django.setup()
        found = [message for message in run_checks() if message.level >= ERROR]
    except (ImproperlyConfigured, ValueError) as error:
        raise SettingError(str(error)) from error
    if found:
        raise SettingError(" ".join(f"{message.msg} {message.hint or ''}".strip() for message in found))


def make_secrets(own: Path, postgres: Path) -> bool:
    """Make the secrets of this installation, mode 0600; whether there were none.

    The password of the database is kept in two places, each for one reader. Raises SettingError when only one is left.
    """
    password, passfile = postgres / "password", own / "pgpass"
    if password.exists() != passfile.exists():
        raise SettingError(
            "Of the volumes secrets and postgres-secret one was removed: the password of the database is known in "
            "neither or one place. Restore it, or remove all volumes: docker-compose down --volumes."
        )
    if password.exists():
        return False
    # Hexadecimal: the files of libpq know characters of their own.
    secret = secrets.token_hex(24)
    _write(passfile, f"*:*:*:halfpipe:{secret}\n")
    _write(password, f"{secret}\n")
    return True


def _write(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def main() -> int:
    """Check, make, and tell in one line how it went."""
    try:
        dotenv = PROJECT / ".env"
        if dotenv.exists():
            require_known(dotenv.read_text(), known_settings(EXAMPLE.read_text()))
        require_sense(os.environ)
        require_parsable()
        made = make_secrets(SECRETS, POSTGRES_SECRET)
    except (SettingError, OSError) as error:
        print(f"Halfpipe does not start: {error}", file=sys.stderr)
        return 1
    print(f"The settings are in order; the secrets {'were made' if made else 'exist'}.")
    if not os.environ.get("COMPOSE_PROFILES"):
        print("Without .env only what --profile names is started: `docker-compose --profile lab up` shows the lab.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
