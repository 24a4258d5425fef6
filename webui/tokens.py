"""API tokens as they are used: from what a program sent to the actor it is."""

from __future__ import annotations

import hmac
import logging
from datetime import timedelta
from typing import Final, NoReturn

from django.core.cache import cache
from django.db.models import Q
from django.utils import timezone

from webui import auditing
from webui.actions.base import Actor
from webui.choices import Interface
from webui.models import ApiToken
from webui.models.access import digest

USED_EVERY: Final = timedelta(minutes=1)  # the last use is written this often at most
LONGEST: Final = 256  # characters that are looked at
REFUSALS_SECONDS: Final = 60  # refusals of one address for one reason are written to the audit this often at most

log = logging.getLogger(__name__)


class TokenRefused(Exception):  # noqa: N818 - named like PermissionRefused
    """The token opens nothing; the text says why, and is fit to be shown to who sent it."""


def actor_of(raw: str, source_address: str | None, interface: str = Interface.API, command: str = "") -> Actor:
    """The actor of a token: its user, with no more permissions than its scope has, asked anew at each use.

    Raises :class:`TokenRefused`: unknown, expired, revoked, or of a user who is disabled; that is in the audit.

    A token is found by its SHA-256, so the time that takes tells nothing of the token: whoever does not have it cannot
    aim at a digest. The two are then compared in constant time.
    """
    mine = digest(raw[:LONGEST])
    token = ApiToken.objects.select_related("user").filter(digest=mine).first()
    if token is None or len(raw) > LONGEST or not hmac.compare_digest(token.digest, mine):
        _refuse(None, source_address, interface, "The token is unknown.")
    now = timezone.now()
    if token.revoked_at is not None:
        _refuse(
            token,
            source_address,
            interface,
            f"The token “{token.name}” was revoked at {token.revoked_at:%Y-%m-%d %H:%M:%S} UTC.",
        )
    if token.expires_at <= now:
        _refuse(
            token,
            source_address,
            interface,
            f"The token “{token.name}” expired at {token.expires_at:%Y-%m-%d %H:%M:%S} UTC.",
        )
    if not token.user.is_active:
        _refuse(token, source_address, interface, f"The user of the token “{token.name}” is disabled.")
    if token.last_used_at is None or now - token.last_used_at >= USED_EVERY:
        due = Q(last_used_at=None) | Q(last_used_at__lte=now - USED_EVERY)
        ApiToken.objects.filter(due, pk=token.pk).update(last_used_at=now)
    return Actor(token.user, interface, source_address, command, scope=token.scope, token=token.name)


def _refuse(token: ApiToken | None, source: str | None, interface: str, reason: str) -> NoReturn:
    """Raise TokenRefused; a flood of them leaves one entry a minute for each address and token."""
    log.warning("API token refused, from %s: %s", source, reason)
    if cache.add(f"token-refused/{source}/{token.pk if token else 0}", value=True, timeout=REFUSALS_SECONDS):
        owner = token.user if token else None
        actor = Actor(owner, interface, source, "" if owner else "unknown token")
        auditing.refused(
            actor,
            kind="apitoken",
            object_id=token.pk if token else None,
            name=f"{token.user.username}: {token.name}" if token else "",
            reason=reason,
        )
    raise TokenRefused(reason)
