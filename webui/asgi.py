from __future__ import annotations

import gc
import os

from channels.routing import ProtocolTypeRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")

django_application = get_asgi_application()

from webui import routing  # noqa: E402 - the consumer's models need the loaded apps
from webui.events import standby  # noqa: E402 - as below

application = ProtocolTypeRouter(
    {"http": django_application, "websocket": routing.websocket, "lifespan": standby.lifespan}
)

# Tens of thousands of rows are read at a time, none of them in a cycle: looking for garbage after each 700 objects
# takes as long as reading them. What is loaded by now stays.
gc.freeze()
gc.set_threshold(50_000, 20, 50)
