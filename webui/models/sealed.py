"""Secrets at rest: Fernet (AES-128-CBC with HMAC-SHA256) under a key that HKDF derives from SECRET_KEY.

An older SECRET_KEY in SECRET_KEY_FALLBACKS still opens what it sealed. What no key opens must be typed in again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.db import models

_PURPOSE = b"halfpipe monitor secrets 1"

if TYPE_CHECKING:
    TextField = models.TextField[str, str]
else:
    TextField = models.TextField


class SealedField(TextField):
    """Secrets by name, as :func:`seal` returns them; nothing but ciphertext is in the row."""


class CannotOpenError(Exception):
    """Sealed by another SECRET_KEY, or damaged."""


def seal(secrets: Mapping[str, str]) -> str:
    """Encrypt secrets by name; empty for none."""
    given = {name: value for name, value in sorted(secrets.items()) if value}
    return _keys().encrypt(json.dumps(given).encode()).decode() if given else ""


def opened(token: str) -> dict[str, str]:
    """Secrets by name. Raises CannotOpenError."""
    if not token:
        return {}
    try:
        found: dict[str, str] = json.loads(_keys().decrypt(token.encode()))
    except InvalidToken as error:
        msg = "The stored secrets cannot be decrypted: SECRET_KEY has changed since."
        raise CannotOpenError(msg) from error
    return found


def names_of(token: str) -> frozenset[str]:
    """Names of the secrets that are set; none when they cannot be decrypted any more."""
    try:
        return frozenset(opened(token))
    except CannotOpenError:
        return frozenset()


def _keys() -> MultiFernet:
    return _fernets((settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS))


@lru_cache(maxsize=4)
def _fernets(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([_fernet(key) for key in keys])


def _fernet(key: str) -> Fernet:
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_PURPOSE).derive(key.encode())
    return Fernet(base64.urlsafe_b64encode(derived))
