"""Sessions of users: which there are, and their end. Django's own table knows keys and expiry alone."""

from __future__ import annotations

from ipaddress import ip_address

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

from webui.editions import raise_edition
from webui.models import LoginSession

LONGEST_AGENT = 255


def begun(request: HttpRequest | None, user: User) -> None:
    """Remember whose session it is, right after a login or under a new key."""
    session = getattr(request, "session", None)
    if request is None or session is None or not session.session_key:
        return
    session["seen"] = int(timezone.now().timestamp())
    try:
        address = str(ip_address(request.META.get("REMOTE_ADDR", "")))
    except ValueError:  # the peer of a Unix socket has none
        address = None
    agent = request.headers.get("User-Agent", "")[:LONGEST_AGENT].replace("\0", "")
    LoginSession.objects.update_or_create(
        session_key=session.session_key,
        defaults={"user": user, "source_address": address, "user_agent": agent, "seen_at": timezone.now()},
    )


def rotate(request: HttpRequest, user: User) -> None:
    """Give the session another key, as after a login: it may do more, or something else, from now on."""
    old = request.session.session_key
    request.session.cycle_key()
    LoginSession.objects.filter(session_key=old).delete()
    begun(request, user)


def seen(request: HttpRequest) -> None:
    """It is in use."""
    LoginSession.objects.filter(session_key=request.session.session_key).update(seen_at=timezone.now())


def of(user: User) -> list[LoginSession]:
    """The sessions that have not ended, newest first; forgets the others. Three queries at most."""
    found = list(LoginSession.objects.filter(user=user))
    alive = set(
        Session.objects.filter(
            session_key__in=[one.session_key for one in found], expire_date__gt=timezone.now()
        ).values_list("session_key", flat=True)
    )
    gone = [one.pk for one in found if one.session_key not in alive]
    if gone:
        LoginSession.objects.filter(pk__in=gone).delete()
    return [one for one in found if one.session_key in alive]


def end(user: User, *, but: str | None = None, pk: int | None = None) -> int:
    """End a user's sessions: all, all but that key, or only one; returns how many ended."""
    chosen = LoginSession.objects.filter(user=user)
    if pk is not None:
        chosen = chosen.filter(pk=pk)
    if but is not None:
        chosen = chosen.exclude(session_key=but)
    keys = list(chosen.values_list("session_key", flat=True))
    ended, _by_model = Session.objects.filter(session_key__in=keys).delete()
    chosen.delete()
    raise_edition()
    return ended
