"""Whether those who look may go on looking: asked for hundreds of browsers at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeVar

from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.utils import timezone

from webui import editions, roles
from webui.access import Standing, standing

MOST: Final = 900  # values in one query; SQLite may be built to take 999
PERMISSION: Final = roles.VIEW_STATUS

Key = TypeVar("Key", str, int)


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the answer was made of: while none of it changes, neither does the answer."""

    data: str  # of the session as it is stored, signed
    user: int
    password: str  # as it is stored, hashed
    edition: int  # of users, roles and sessions
    sees_audit: bool


def look(session_key: str | None) -> Facts | Standing:
    """The facts of a session whose user may see states; of any other, what it is good for. Raises django.db.Error."""
    edition = editions.read()  # before the rest, so that a change meanwhile makes it be asked again
    found = standing(session_key, PERMISSION)
    data = dict(_stored([session_key])).get(session_key) if session_key else None
    if data is None or not found.allowed or found.user is None:
        return found if data is not None else Standing(logged_in=False)
    return Facts(data, found.user.pk, found.user.password, edition, found.sees_audit)


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
    """Sessions that were found good, and what that was found from."""

    known: dict[str, Facts] = field(default_factory=dict)

    def changed(self) -> dict[str, Facts | Standing]:
        """Those of which anything changed, with what they are good for now; the bad ones are forgotten.

        Three queries for up to 900 while nothing changed. Raises django.db.Error.
        """
        known = dict(self.known)
        edition = editions.read()
        data = dict(_stored(known))
        users = {facts.user for facts in known.values()}
        passwords: dict[int, str] = {}
        for some in _parts(users):
            passwords.update(User.objects.filter(pk__in=some, is_active=True).values_list("pk", "password"))
        found: dict[str, Facts | Standing] = {}
        for key, facts in known.items():
            same = data.get(key) == facts.data and passwords.get(facts.user) == facts.password
            if same and facts.edition == edition:
                continue
            found[key] = again = look(key)
            if isinstance(again, Facts):
                self.known[key] = again
            else:
                self.known.pop(key, None)
        return found
