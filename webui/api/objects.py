"""Servers, services, their groups, virtual servers, monitors and event targets: the same requests for each kind."""

# No postponed annotations: the bodies' types are made for each kind, where Ninja could not find them by name.

from collections.abc import Callable, Mapping
from typing import Any, Literal

from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema, Status
from pydantic import Field, create_model

from webui.actions import renaming
from webui.actions.base import Actor, find
from webui.api import schemas, values
from webui.api.auth import may_view
from webui.api.fields import Cursor
from webui.api.kinds import KINDS, Counted, Kind
from webui.api.parameters import refuse_other_types
from webui.api.previews import DryRun, Preview, act
from webui.api.problems import Problem
from webui.metrics.read import SPANS

ERRORS: dict[int, Any] = dict.fromkeys((400, 401, 403, 404, 409, 412, 422, 503), Problem)
Deed = Callable[[Actor, Any], Any]


class Page(Schema):
    """Which objects of a list."""

    q: str = Field("", max_length=100, description="Each word occurs in the name, address, comment or type.")
    limit: int = Field(50, ge=1, le=values.MOST_ROWS, description="Objects in the answer, at most.")
    cursor: Cursor = Field("", description="“next” of the page before.")


def router_of(kind: Kind) -> Router:
    """All requests about objects of a kind."""
    router = Router(tags=[kind.plural])
    _reading(router, kind)
    _changing(router, kind)
    if hasattr(kind.actions, "enable"):
        _switching(router, kind)
    if kind.counted is not None:
        _counting(router, kind, kind.counted)
    return router


def _one(kind: Kind) -> str:
    return f"{'an' if kind.singular[0] in 'aeiou' else 'a'} {kind.singular}"


def _reading(router: Router, kind: Kind) -> None:
    answer = schemas.answer_of(kind.model)

    Listed = create_model(  # noqa: N806 - a type
        f"{kind.model.__name__}List",
        __base__=Schema,
        items=(list[answer], Field(description="A page of the list.")),  # type: ignore[valid-type]  # made above
        next=(str | None, Field(description="Cursor of the next page; null on the last.")),
    )

    @router.get(
        "",
        response={200: Listed, **ERRORS},
        summary=f"List {kind.plural.lower()}",
        url_name=kind.slug,
        operation_id=f"list_{kind.slug}",
    )
    def list_them(request: HttpRequest, page: Query[Page], state: str = "", type: str = "") -> dict[str, Any]:
        may_view(request, kind.model)
        rows = _matching(kind, page.q, {"state": state, "type": type}).filter(pk__gt=values.after(page.cursor))
        found = list(rows.order_by("pk")[: page.limit + 1])
        more = len(found) > page.limit
        items = [values.as_answer(row) for row in found[: page.limit]]
        return {"items": items, "next": values.cursor_of(found[page.limit - 1].pk) if more else None}

    @router.get(
        "/{name}",
        response={200: answer, 304: None, **ERRORS},
        summary=f"Read one {kind.singular}",
        operation_id=f"read_{kind.slug}",
    )
    def read(request: HttpRequest, response: HttpResponse, name: str) -> Any:
        may_view(request, kind.model)
        row = _found(kind, name)
        if values.is_known(request, row):
            answer = HttpResponse(status=304)
            values.tagged(answer, row)
            return answer
        values.tagged(response, row)
        return values.as_answer(row)

    @router.get(
        "/{name}/state",
        response={200: schemas.State, **ERRORS},
        summary=f"State of {_one(kind)} now",
        operation_id=f"state_of_{kind.slug}",
    )
    def state_of(request: HttpRequest, name: str) -> Any:
        may_view(request, kind.model)
        row = _found(kind, name)
        shown = kind.shown(row)
        return {"name": row.name, "state": shown.state, "reason": shown.reason, "figures": shown.figures}


def _found(kind: Kind, name: str) -> Any:
    model: Any = kind.model
    return find(model, name)


def _matching(kind: Kind, search: str, filters: Mapping[str, str]) -> QuerySet[Any]:
    """Objects in which each word occurs, by what an operator wants of them (state) and by their type."""
    rows = values.joined(kind.model._default_manager.all())
    for word in search.split():
        somewhere = Q()
        for name in kind.search:
            somewhere |= Q(**{f"{name}__icontains": word.replace("\0", "")})
        rows = rows.filter(somewhere)
    for name, value in filters.items():
        if value:
            rows = rows.filter(**{kind.lookups[name]: value.upper()}) if name in kind.lookups else rows.none()
    return rows


def _changing(router: Router, kind: Kind) -> None:
    answer = schemas.answer_of(kind.model)
    new, changed = schemas.body_of(kind.model, new=True), schemas.body_of(kind.model, new=False)
    renamed = schemas.rename_of(kind.model)

    @router.post(
        "",
        response={201: answer, 200: Preview, **ERRORS},
        summary=f"Make {_one(kind)}",
        operation_id=f"make_{kind.slug}",
    )
    def make(request: HttpRequest, response: HttpResponse, body: new, dry_run: DryRun = False) -> Any:  # type: ignore[valid-type]  # made above
        sent = given(body)
        refuse_other_types(kind.model, sent)
        row = act(request, lambda actor: kind.actions.create(actor, sent), dry_run=dry_run)
        response.headers["Location"] = f"{request.path.rstrip('/')}/{row.name}"
        return Status(201, _answered(response, row))

    @router.patch(
        "/{name}",
        response={200: answer | Preview, **ERRORS},
        summary=f"Change {_one(kind)}",
        operation_id=f"change_{kind.slug}",
    )
    def change(
        request: HttpRequest,
        response: HttpResponse,
        name: str,
        body: changed,  # type: ignore[valid-type]  # made above
        dry_run: DryRun = False,
    ) -> Any:
        row = _found(kind, name)
        expected = values.wanted(request, row)
        wanted = {key: value for key, value in given(body).items() if key not in schemas.FIXED[kind.model]}
        refuse_other_types(kind.model, wanted, row)
        update = kind.actions.update
        return _answered(response, act(request, lambda actor: update(actor, row, wanted, expected), dry_run=dry_run))

    @router.delete(
        "/{name}",
        response={204: None, 200: Preview, **ERRORS},
        summary=f"Delete {_one(kind)}",
        operation_id=f"delete_{kind.slug}",
    )
    def delete(request: HttpRequest, name: str, dry_run: DryRun = False) -> Any:
        row = _found(kind, name)
        values.unless_changed(
            request, row, lambda: act(request, lambda actor: kind.actions.delete(actor, row), dry_run=dry_run)
        )
        return Status(204, None)

    @router.post(
        "/{name}/rename",
        response={200: answer | Preview, **ERRORS},
        summary=f"Rename {_one(kind)}",
        operation_id=f"rename_{kind.slug}",
    )
    def rename(
        request: HttpRequest,
        response: HttpResponse,
        name: str,
        body: renamed,  # type: ignore[valid-type]  # made above
        dry_run: DryRun = False,
    ) -> Any:
        row, wanted = _found(kind, name), given(body)["name"]
        version = values.wanted(request, row)
        return _answered(
            response, act(request, lambda actor: renaming.rename(actor, row, wanted, version), dry_run=dry_run)
        )


def given(body: schemas.Strict) -> dict[str, Any]:
    """What was sent, without what was left out; null stands for nothing, where a field can be without."""
    return body.model_dump(exclude_unset=True)


def _answered(response: HttpResponse, row: Any) -> dict[str, Any]:
    """The object as it is now, with its ETag."""
    values.tagged(response, row)
    return values.as_answer(row)


def _switching(router: Router, kind: Kind) -> None:
    def switched(request: HttpRequest, response: HttpResponse, name: str, deed: Deed, *, dry_run: bool) -> Any:
        row = _found(kind, name)
        done = values.unless_changed(
            request, row, lambda: act(request, lambda actor: deed(actor, row), dry_run=dry_run)
        )
        return _answered(response, done)

    def enable(request: HttpRequest, response: HttpResponse, name: str, dry_run: DryRun = False) -> Any:
        return switched(request, response, name, kind.actions.enable, dry_run=dry_run)

    def disable(request: HttpRequest, response: HttpResponse, name: str, dry_run: DryRun = False) -> Any:
        return switched(request, response, name, kind.actions.disable, dry_run=dry_run)

    def disable_after(
        request: HttpRequest, response: HttpResponse, name: str, body: schemas.Disable, dry_run: DryRun = False
    ) -> Any:
        def deed(actor: Actor, row: Any) -> Any:
            return kind.actions.disable(actor, row, body.delay, body.graceful)

        return switched(request, response, name, deed, dry_run=dry_run)

    options: dict[str, Any] = {"response": {200: schemas.answer_of(kind.model) | Preview, **ERRORS}}
    router.post("/{name}/enable", summary=f"Enable {_one(kind)}", operation_id=f"enable_{kind.slug}", **options)(enable)
    down: Callable[..., Any] = disable_after if kind.can_wait else disable
    words = f"Disable {_one(kind)}" + (", at once or gracefully" if kind.can_wait else "")
    router.post("/{name}/disable", summary=words, operation_id=f"disable_{kind.slug}", **options)(down)


def _counting(router: Router, kind: Kind, counted: Counted) -> None:
    @router.get(
        "/{name}/statistics",
        summary=f"Traffic of {_one(kind)} over time",
        response={200: dict, **ERRORS},
        operation_id=f"statistics_of_{kind.slug}",
    )
    def statistics(request: HttpRequest, name: str, range: Literal[tuple(SPANS)] = "1h") -> Any:  # type: ignore[valid-type]  # they are data
        may_view(request, kind.model)
        return counted(_found(kind, name), SPANS[range])


ROUTERS = {slug: router_of(kind) for slug, kind in KINDS.items() if kind.model in schemas.FIXED}
