"""A site with Django's own login: ``python -m tests.monitors.kinds.login_site ADDRESS ADDRESS6 PORT``.

Sessions, the hidden field against forgery, its cookie and the redirections are Django's, as on any site made with it.
"""

from __future__ import annotations

import socket
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import django
from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse
from django.urls import path

USER, PASSWORD = "probe", "s3cret+ä&"
FORM = "<form method=post>{% csrf_token %}{{ form }}<button name=go value=1>Log in</button></form>"


class Server(ThreadingMixIn, WSGIServer):
    """IPv4; a request more than one at a time, since a probe may be ended in the middle of one."""

    daemon_threads = True


class Server6(Server):
    """IPv6."""

    address_family = socket.AF_INET6

    def server_bind(self) -> None:
        """As for IPv4, without a look-up of the name."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_name, self.server_port = "site", self.server_address[1]
        self.setup_environ()


class Quiet(WSGIRequestHandler):
    """No log, no look-up of names."""

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def address_string(self) -> str:
        """The address."""
        return str(self.client_address[0])


def main(address: str, address6: str, port: int) -> None:
    """Serve until the process ends."""
    settings.configure(
        SECRET_KEY="of a test alone, with nothing behind it",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:site?mode=memory&cache=shared"}},
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGIN_URL="/login/",
        LOGIN_REDIRECT_URL="/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", {"login.html": FORM})]},
            }
        ],
    )
    django.setup()
    from django.contrib.auth.models import User  # noqa: PLC0415 - only after the set-up
    from django.core.management import call_command  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    User.objects.create_user(USER, password=PASSWORD)
    urlpatterns.extend(_urls())
    application = WSGIHandler()
    for made, at in ((Server6, address6), (Server, address)):
        server = made((at, port), Quiet)
        server.set_app(application)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    threading.Event().wait()


urlpatterns: list[object] = []


def _urls() -> list[object]:
    from django.contrib.auth.decorators import login_required  # noqa: PLC0415
    from django.contrib.auth.views import LoginView  # noqa: PLC0415

    def home(_request: HttpRequest) -> HttpResponse:
        return HttpResponse("<h1>Applications</h1>")

    return [path("", login_required(home)), path("login/", LoginView.as_view(template_name="login.html"))]


if __name__ == "__main__":
    sys.modules["tests.monitors.kinds.login_site"] = sys.modules["__main__"]
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
