from __future__ import annotations

from channels.routing import URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack
from django.urls import path

from webui.consumers import FlowConsumer, LiveConsumer

# Who it is, the consumer finds out from the session, again and again, so nothing here has to ask the database.
# Another site's page must not open a websocket with the cookie of someone who is logged in here.
route = path("ws/live/", LiveConsumer.as_asgi())  # type: ignore[arg-type] # Channels' own way; the stubs know views
flows = path("ws/flows/<int:pk>/", FlowConsumer.as_asgi())  # type: ignore[arg-type] # as above
websocket = AllowedHostsOriginValidator(SessionMiddlewareStack(URLRouter([route, flows])))  # type: ignore[list-item] # as above
