"""Changes that are only tried: ``?dry_run=true`` tells what a request would do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias, TypeVar

from django.http import HttpRequest, HttpResponse, JsonResponse
from ninja import Query, Schema
from pydantic import Field

from webui import dryrun
from webui.actions.base import Actor
from webui.api.auth import actor_of

T = TypeVar("T")
DryRun: TypeAlias = Annotated[bool, Query(False, description="Tell what it would do, and change nothing.")]


class Preview(Schema):
    """The answer to a dry run: what the change would do, see “Preview before apply” in the console's documentation."""

    revision: int = Field(description="The revision of the configuration that it was tried on.")
    changes: list[dict[str, Any]] = Field(description="Objects and fields that would differ.")
    vservers: list[dict[str, Any]] = Field(
        description="Clients that would move, in per cent, and each service's share."
    )
    directors: list[dict[str, Any]] = Field(description="Writes to the tables of each director, line by line.")
    consequences: list[str] = Field(description="The same in words.")
    seen_from: str = Field(description="The director whose paths it is computed with.")


class Previewed(Exception):  # noqa: N818 - no error: the answer to a dry run
    """Ends a request that is a dry run."""

    def __init__(self, found: dryrun.Preview) -> None:
        super().__init__()
        self.found = found


def act(request: HttpRequest, action: Callable[[Actor], T], *, dry_run: bool) -> T:
    """Run an action of the request's actor. Raises what it raises, and Previewed when it was only to be tried."""
    actor = actor_of(request)
    if dry_run:
        raise Previewed(dryrun.preview(actor, action))
    return action(actor)


def answer(_request: HttpRequest, previewed: Any) -> HttpResponse:
    """What a dry run answers."""
    return JsonResponse(previewed.found.as_dict())
