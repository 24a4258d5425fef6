"""The REST API: what stands at ``/api/v1/``."""

from __future__ import annotations

from typing import Any

from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from webui.api import audit, bindings, configuration, objects, previews, problems, reading, servicegroups
from webui.api.auth import AUTH
from webui.api.parsing import Json

DESCRIPTION = """All objects of the configuration, their bindings, states and statistics, revisions and the audit.

Objects are addressed by name, whatever its case. A change may carry If-Match with the ETag that was read: if
somebody else was faster it is refused (412) and tells who changed what. Errors are problem details (RFC 9457)."""


class Api(NinjaAPI):
    """Describes errors as what they are sent as."""

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        """OpenAPI 3.1."""
        found = super().get_openapi_schema(**options)
        for operations in found["paths"].values():
            for operation in operations.values():
                for status, answer in operation["responses"].items():
                    if int(status) >= 400 and "content" in answer:
                        answer["content"] = {problems.CONTENT_TYPE: answer["content"].pop("application/json")}
        return found


def make() -> NinjaAPI:
    """The API with all of its routers."""
    api = Api(
        title="Halfpipe",
        version="1.0.0",
        description=DESCRIPTION,
        urls_namespace="api",
        auth=AUTH,
        parser=Json(),
        docs_url=None,  # a page of our own: webui.views.api_docs
    )
    problems.register(api)
    api.add_exception_handler(previews.Previewed, previews.answer)
    for slug, router in objects.ROUTERS.items():
        api.add_router(f"/{slug}", router)
    api.add_router("/vservers", bindings.of_vservers)
    api.add_router("/vservers", servicegroups.of_vservers)
    api.add_router("/services", bindings.of_services)
    api.add_router("/servicegroups", servicegroups.of_groups)
    api.add_router("", configuration.router)
    api.add_router("", reading.router)
    api.add_router("/audit", audit.router)
    return api


def urls() -> Any:
    """For ``path("api/v1/", …)``: the API answers 401 itself, where pages would lead to the login."""
    found = API.urls
    for pattern in found[0]:
        setattr(pattern.callback, "login_required", False)  # noqa: B010 - Django's mark upon a view
    return found


API = make()
