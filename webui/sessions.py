"""Whether those who look are still logged in: asked for hundreds of browsers at once, every few seconds."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils import timezone

MOST: Final = 900  # values in one query; SQLite may be built to take 999

Key = TypeVar("Key", str, int)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an answer to "is this session valid?" was made of: while none of it changes, neither does the answer."""

    data: str  # as it is stored, signed
    user: int
    password: str  # as it is stored, hashed


def look(session_key: str | None) -> Facts | None:
    """The facts of a session that exists, has not expired, and belongs to an active user whose password is unchanged.

    None for any other. Raises django.db.Error.
    """
    if not session_key:
        return None
    data = dict(_stored([session_key])).get(session_key)
    if data is None:
        return None
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    if not isinstance(user, User) or not user.is_authenticated:
        return None
    return Facts(data, user.pk, user.password)


def _stored(keys: Collection[str]) -> Iterator[tuple[str, str]]:
    for some in _parts(keys):
        rows = Session.objects.filter(session_key__in=some, expire_date__gt=timezone.now())
        yield from rows.values_list("session_key", "session_data")


def _parts(values: Collection[Key]) -> Iterator[list[Key]]:
    found = list(values)
    for first in range(0, len(found), MOST):
        yield found[first : first + MOST]


@dataclass
class Sessions:
    """Sessions that were found valid, and what that was found from."""

    known: dict[str, Facts] = field(default_factory=dict)

    def ended(self) -> set[str]:
        """Those that are not valid any more; they are forgotten. Two queries for up to 900 of them.

        One of which anything changed is looked at anew. Raises django.db.Error.
        """
        known = dict(self.known)
        data = dict(_stored(known))
        users = {facts.user for facts in known.values()}
        passwords: dict[int, str] = {}
        for some in _parts(users):
            passwords.update(User.objects.filter(pk__in=some, is_active=True).values_list("pk", "password"))
        gone = set()
        for key, facts in known.items():
            if data.get(key) == facts.data and passwords.get(facts.user) == facts.password:
                continue
            again = look(key)
            if again is None:
                gone.add(key)
                self.known.pop(key, None)
            else:
                self.known[key] = again
        return gone
