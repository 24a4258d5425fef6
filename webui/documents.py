"""The files of ``docs/`` as pages: Markdown without raw HTML, headings with anchors, links between the pages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count, pairwise
from pathlib import Path

from django.conf import settings
from django.urls import reverse
from markdown_it import MarkdownIt
from markdown_it.token import Token

FOLDER = settings.BASE_DIR / "docs"
FIRST = ("concepts", "considerations", "howto", "monitors", "events")  # then the others, by name
_NAME = re.compile(r"[a-z0-9-]+")
_LINK = re.compile(r"([a-z0-9-]+)\.md(#.*)?")
_NOT_IN_ANCHORS = re.compile(r"[^\w\- ]")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading with its anchor; ``level`` is 1 to 6."""

    level: int
    text: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Document:
    """A page. ``html`` is safe: the renderer escapes everything but what it makes itself."""

    name: str
    title: str
    html: str
    headings: tuple[Heading, ...]

    @property
    def contents(self) -> list[Heading]:
        """What the table of contents lists."""
        return [heading for heading in self.headings if heading.level in {2, 3}]

    @property
    def anchors(self) -> set[str]:
        """Every anchor of the page."""
        return {heading.anchor for heading in self.headings}


def names() -> list[str]:
    """Every document, in the order of the index."""
    found = {path.stem for path in FOLDER.glob("*.md")}
    return [name for name in FIRST if name in found] + sorted(found - set(FIRST))


def document(name: str) -> Document:
    """A page by its name, rendered anew when the file has changed. Raises FileNotFoundError."""
    if not _NAME.fullmatch(name):
        raise FileNotFoundError(name)
    path = FOLDER / f"{name}.md"
    return _read(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=32)
def _read(path: Path, _changed: int) -> Document:
    return render(path.stem, path.read_text(encoding="utf-8"))


def render(name: str, text: str) -> Document:
    """Markdown (CommonMark, with tables) as a page; raw HTML in it is shown as text."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    headings = tuple(_headings(tokens))
    _link(tokens)
    _label_cells(tokens)
    html = parser.renderer.render(tokens, parser.options, {})
    html = _with_scrolling(html)
    title = next((heading.text for heading in headings if heading.level == 1), name)
    return Document(name, title, html, headings)


def anchor_of(text: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return _NOT_IN_ANCHORS.sub("", text.lower()).replace(" ", "-")


def _text(token: Token) -> str:
    return "".join(child.content for child in token.children or [])


def _headings(tokens: Sequence[Token]) -> Iterator[Heading]:
    seen: dict[str, int] = {}
    for token, inside in pairwise(tokens):
        if token.type != "heading_open":
            continue
        text = _text(inside)
        anchor = anchor_of(text)
        seen[anchor] = seen.get(anchor, -1) + 1
        if seen[anchor]:
            anchor = f"{anchor}-{seen[anchor]}"
        token.attrSet("id", anchor)
        yield Heading(int(token.tag[1:]), text, anchor)


def _link(tokens: Sequence[Token]) -> None:
    """Links from file to file lead from page to page."""
    for token in tokens:
        for child in token.children or []:
            found = _LINK.fullmatch(str(child.attrGet("href") or "")) if child.type == "link_open" else None
            if found:
                child.attrSet("href", reverse("docs-page", args=[found[1]]) + (found[2] or ""))


def _label_cells(tokens: Sequence[Token]) -> None:
    """Each cell carries its column's heading, which narrow screens show beside it."""
    labels: list[str] = []
    column = 0
    for token, inside in pairwise(tokens):
        if token.type == "table_open":
            labels = []
        elif token.type == "tr_open":
            column = 0
        elif token.type == "th_open":
            token.attrs.pop("style", None)
            labels.append(_text(inside))
            if labels[-1]:
                token.attrSet("scope", "col")
            else:  # a heading without words is none
                token.tag = "td"
        elif token.type == "th_close" and not labels[-1]:
            token.tag = "td"
        elif token.type == "td_open":
            token.attrs.pop("style", None)  # the console allows no styles in a page
            token.attrSet("data-label", labels[column] if column < len(labels) else "")
            column += 1


def _with_scrolling(html: str) -> str:
    """Wide tables and code scroll by themselves, by the keyboard too."""
    number = count(1)
    html = re.sub(
        "<table>",
        lambda _: f'<div class="scroll" role="region" aria-label="Table {next(number)}" tabindex="0"><table>',
        html,
    )
    return html.replace("</table>", "</table></div>").replace("<pre>", '<pre tabindex="0">')
