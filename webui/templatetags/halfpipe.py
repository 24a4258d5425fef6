"""Cells and figures. ``static/format.js`` formats the same way; a browser test compares the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import template
from django.db import Error
from django.forms import BoundField
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from webui import help, passwords, revisions
from webui.metrics.spark import path
from webui.models import GivenPassword
from webui.tables import Column

register = template.Library()

NOTHING = "–"


def get(row: Any, name: str) -> Any:
    """``row[name]``, or nothing."""
    return row.get(name) if isinstance(row, dict) else None


def figure(value: float | None, unit: str = "") -> str:
    """Three significant digits with an SI prefix: 1234567 is “1.23 M”."""
    if value is None:
        return NOTHING
    number, prefix = float(value), ""
    for prefix in ("", "k", "M", "G", "T"):
        if abs(number) < 999.5 or prefix == "T":
            break
        number /= 1000
    if not prefix and number == int(number):
        text = f"{number:.0f}"
    else:
        text = f"{number:.{2 if abs(number) < 9.995 else 1 if abs(number) < 99.95 else 0}f}"
    return f"{text} {prefix}{unit}".rstrip()


def cell_text(row: Any, column: Column) -> str:
    """A cell's text, as the first answer shows it."""
    value = get(row, column.name)
    if column.format == "rate":
        return figure(value)
    if column.format == "bits":
        return figure(value, "bit")
    if column.format == "count":
        return NOTHING if value is None else f"{value:,}".replace(",", "\u202f")
    if column.format in {"time", "age"}:
        return absolute(value) if value else "never"
    if column.format == "until":
        return absolute(value) if value else NOTHING
    return str(value) if value not in (None, "") else NOTHING


@register.simple_tag
def cell(row: Any, column: Column) -> SafeString:
    """A cell's content. In Python, since a list of a thousand services has nine thousand of them.

    ``static/render.js`` finds what it has to change by the data attributes.
    """
    text = cell_text(row, column)
    names = format_html('data-field="{}" data-format="{}"', column.name, column.format)
    if column.format == "state":
        shown = format_html('<span class="{}" {}>{}</span>', state_class(get(row, column.name)), names, text)
    elif column.format in {"time", "age", "until"}:
        value = get(row, column.name)
        at = format_html(' datetime="{}"', value) if value else ""
        shown = format_html("<time{} {}>{}</time>", at, names, text)
    elif column.format == "spark":
        shown = sparkline(get(row, column.name) or "", names)
    elif column.link:
        url = get(row, column.link)
        target = format_html(' href="{}"', url) if url else ""
        shown = format_html('<a{} data-link="{}" {}>{}</a>', target, column.link, names, text)
    else:
        tag = SafeString("code" if column.format == "code" else "span")
        shown = format_html("<{} {}>{}</{}>", tag, names, text, tag)
    if not column.note:
        return shown
    return format_html('{}<span class="note" data-note="{}">{}</span>', shown, column.note, get(row, column.note) or "")


def sparkline(value: str, attributes: SafeString) -> SafeString:
    """The small chart of a row; ``value`` is “heights most”."""
    line, _, most = value.partition(" ")
    words = f"packets/s in the last hour: at most {most}" if line else "the last hour is not known"
    return format_html(
        '<svg class="spark" viewBox="0 0 90 16" role="img" aria-label="{}" {}><path d="{}"/></svg>',
        words,
        attributes,
        path(line),
    )


def absolute(iso: str) -> str:
    """Date and time in the installation's time zone."""
    return f"{timezone.localtime(datetime.fromisoformat(iso)):%Y-%m-%d %H:%M:%S}"


def state_class(value: str | None) -> str:
    """CSS class of a state: “OUT OF SERVICE” is ``state-out-of-service``."""
    return f"state state-{(value or 'none').lower().replace(' ', '-')}"


@register.simple_tag(takes_context=True)
def help_url(context: template.Context) -> str:
    """Where the documentation tells of this page, or its start; empty for people who are not logged in."""
    request = context.get("request")
    return help.url(request.resolver_match) if request is not None and context["user"].is_authenticated else ""


@register.simple_tag(takes_context=True)
def configuration(context: template.Context) -> revisions.Standing | None:
    """Where the configuration stands: running, saved, on trial; nothing for people who are not logged in."""
    user = context.get("user")
    try:
        return revisions.standing() if user is not None and user.is_authenticated else None
    except Error:  # the page itself says that the database is away
        return None


@register.simple_tag(takes_context=True)
def given_password(context: template.Context) -> GivenPassword | None:
    """How the user came to a password of somebody else's choice; nothing for people who are not logged in."""
    user = context.get("user")
    try:
        return passwords.given_to(user) if user is not None and user.is_authenticated else None
    except Error:  # as above
        return None


@register.filter
def figures(value: float | None, unit: str = "") -> str:
    """As :func:`figure`, for a template."""
    return figure(value, unit)


@register.filter
def state_css(value: str) -> str:
    """As :func:`state_class`, for a template."""
    return state_class(value)


@register.filter
def is_checkbox(field: BoundField) -> bool:
    """Whether the label stands after the control."""
    return field.widget_type == "checkbox"
