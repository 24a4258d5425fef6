"""One deed on many objects: asked first, with what it does to each; then done one by one, with a result for each."""

from __future__ import annotations

import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from webui import consequences
from webui.actions.base import Actor
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.asked import PAGE_SIZES, parse
from webui.backups import primaries
from webui.listing import choices_of, columns_of
from webui.views.change import Ahead, actor_of, look_ahead
from webui.views.kinds import Kind
from webui.world import load_world

MOST: Final = max(PAGE_SIZES)
PATIENCE: Final = 1.0  # seconds that a preview may keep others from changing anything
KEPT: Final = 5  # results in a session
SESSION: Final = "bulk"


@dataclass(frozen=True)
class Deed:
    """What can be done to many: the word in addresses, the permission it takes, and how pages call it."""

    word: str
    verb: str
    label: str
    done: str


DEEDS: Final = {
    deed.word: deed
    for deed in (
        Deed("enable", "enable", "Enable", "enabled"),
        Deed("disable", "disable", "Disable", "disabled"),
        Deed("delete", "delete", "Delete", "deleted"),
    )
}


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest, kind: Kind) -> HttpResponse:
    """Tell what ``?do=`` does to each ``?pk=``; a POST does it."""
    given = request.POST if request.method == "POST" else request.GET
    deed = DEEDS.get(given.get("do", ""))
    if deed is None:
        raise BadRequest(f"“{given.get('do', '')[:40]}” is nothing that can be done: {', '.join(DEEDS)}.")
    if request.method == "POST":
        return _do(request, kind, deed)
    if not kind.allows(request.user, deed.verb):
        raise PermissionDenied(f"Your account may not {deed.verb} a {kind.singular}.")
    pks = list(dict.fromkeys(_number(text) for text in request.GET.getlist("pk")))
    _check_count(pks)
    items, missing = _items(kind, deed, pks)
    context = {"kind": kind, "deed": deed, "items": items, "missing": missing, "back": _back(kind, given)}
    if items:
        context["ahead"] = _ahead(request, kind, deed, [row for row, _told in items])
    return render(request, "generic/bulk.html", context)


def _ahead(request: HttpRequest, kind: Kind, deed: Deed, rows: list[Any]) -> Ahead:
    """What becomes of all together; what is refused is left out, as it will be."""
    by_pk = {row.pk: row for row in rows}
    until = time.monotonic() + PATIENCE

    def each(who: Actor) -> None:
        for pk in _order(kind, deed, by_pk):
            if time.monotonic() > until:
                raise _TooLongError
            with suppress(ValidationError, PermissionRefused, NotFoundError, ConflictError):
                getattr(kind.actions, deed.word)(who, by_pk[pk])

    try:
        return look_ahead(request, each)
    except _TooLongError:
        return Ahead(unknown=f"This is too much to be worked out beforehand: more than {PATIENCE:.0f} s of changes.")


class _TooLongError(Exception):
    """Others wait for a preview that makes so many changes."""


def _number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 18:
        raise BadRequest(f"“{text[:40]}” is no number of an object.")
    return int(text)


def _check_count(pks: list[int]) -> None:
    if len(pks) > MOST:
        raise BadRequest(f"{len(pks)} objects are more than can be changed at once: at most {MOST}.")


def _back(kind: Kind, given: QueryDict) -> str:
    """The list's own query string again, whatever was sent."""
    text = given.get("back", "")[:2000].removeprefix("?")
    return parse(QueryDict(text), choices_of(kind.slug), columns_of(kind.slug)).query()


def _items(kind: Kind, deed: Deed, pks: list[int]) -> tuple[list[tuple[Any, list[str]]], int]:
    """(object, what happens to it) by name, and how many are no more. Eleven queries, however many objects."""
    world = load_world()
    rows = consequences.rows_of(world, kind.slug)
    found = sorted((rows[pk] for pk in pks if pk in rows), key=lambda row: row.name.casefold())
    gone = [row.pk for row in found]
    told = [(row, consequences.of(world, kind.slug, deed.word, row.pk, gone)) for row in found]
    return told, len(pks) - len(found)


def _do(request: HttpRequest, kind: Kind, deed: Deed) -> HttpResponse:
    """Do it to each object that is still as it was when asked; each is a change of its own."""
    seen = dict(_item(text) for text in request.POST.getlist("item"))
    _check_count(list(seen))
    rows = {row.pk: row for row in kind.model._default_manager.filter(pk__in=seen)}
    results = []
    for pk in _order(kind, deed, rows) + [pk for pk in seen if pk not in rows]:
        row = rows.get(pk)
        name, ok, text = (
            (f"number {pk}", False, "It was deleted meanwhile.")
            if row is None
            else _one(request, kind, deed, row, seen[pk])
        )
        kept = row is not None and not (ok and deed.word == "delete")
        results.append({"pk": pk if kept else None, "name": name, "ok": ok, "text": text})
    token = str(uuid.uuid4())
    outcome = {"do": deed.word, "results": results, "back": _back(kind, request.POST)}
    earlier = list(request.session.get(SESSION, {}).items())[1 - KEPT :]
    request.session[SESSION] = dict(earlier) | {token: outcome}
    return redirect("bulk-result", kind, token)


def _item(text: str) -> tuple[int, int]:
    pk, _colon, version = text.partition(":")
    return _number(pk), _number(version)


def _order(kind: Kind, deed: Deed, rows: dict[int, Any]) -> list[int]:
    """By name; what is somebody's backup is deleted after those that it stands in for."""
    names = sorted(rows, key=lambda pk: rows[pk].name.casefold())
    if kind.slug != "vservers" or deed.word != "delete":
        return names
    behind = primaries({pk: row.backup_vserver_id for pk, row in rows.items()})
    return sorted(names, key=lambda pk: len(behind.get(pk, ())))


def _one(request: HttpRequest, kind: Kind, deed: Deed, row: Any, version: int) -> tuple[str, bool, str]:
    """(name, whether it is done, what came of it)."""
    current = kind.model._default_manager.filter(pk=row.pk).values_list("version", flat=True).first()
    if current is not None and current != version:
        return row.name, False, "Someone changed it meanwhile, so nothing was done; look at it again."
    try:
        getattr(kind.actions, deed.word)(actor_of(request), row)
    except ValidationError as error:
        return row.name, False, " ".join(error.messages)
    except (PermissionRefused, NotFoundError, ConflictError) as error:
        return row.name, False, str(error.args[0])
    return row.name, True, f"It is {deed.done}."


@require_safe
def result(request: HttpRequest, kind: Kind, token: uuid.UUID) -> HttpResponse:
    """What came of it, object by object; kept with the session."""
    outcome = request.session.get(SESSION, {}).get(str(token))
    if outcome is None:
        raise Http404("This result is not kept any more; the history of each object tells what was done.")
    results = outcome["results"]
    done = sum(one["ok"] for one in results)
    context = {"kind": kind, "deed": DEEDS[outcome["do"]], "done": done, "outcome": outcome}
    return render(request, "generic/bulk_result.html", context | {"failed": len(results) - done})
