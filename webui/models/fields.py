"""Pieces that several models share."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

# A port of 0 stands for NetScaler's ``*``; a number, so that uniqueness holds on every database.
ANY_PORT = 0

# NetScaler command reference: first a letter, digit or underscore, then also # . space : @ = -
object_name_validator = RegexValidator(
    r"\A[A-Za-z0-9_][A-Za-z0-9_#. :@=-]*\Z",
    "“%(value)s” is not a name: it starts with a letter, a digit or _ "
    "and goes on with letters, digits and _ # . space : @ = -",
)


class Timestamped(models.Model):
    """When the row was made and last changed (UTC), and a version for optimistic locking."""

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    version = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        abstract = True
