from __future__ import annotations

from channels.auth import AuthMiddlewareStack
from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.urls import path

from webui.consumers import FlowConsumer, LiveConsumer

# Another site's page must not open a websocket with the cookie of someone who is logged in here.
route = path("ws/live/", LiveConsumer.as_asgi())  # type: ignore[arg-type] # Channels' own way; the stubs know views
flows = path("ws/flows/<int:pk>/", FlowConsumer.as_asgi())  # type: ignore[arg-type] # as above
websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter([route, flows])))  # type: ignore[list-item] # as above
