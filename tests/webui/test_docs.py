"""The documentation inside the console: it is rendered safely, and every link to a section of it finds one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver, resolve, reverse
from hypothesis import given
from hypothesis import strategies as st

from tests import factories
from webui import documents, help
from webui.calculator import CalculatorForm, Load
from webui.views.kinds import KINDS

LINKS = re.compile(r'<a href="([^"]*)"')


@pytest.fixture
def reader(client: Client, db: None) -> Client:
    client.force_login(factories.outsider())
    return client


@pytest.mark.parametrize("name", documents.names())
def test_every_link_within_the_documentation_leads_to_a_page_and_an_anchor(name: str) -> None:
    for link in LINKS.findall(documents.document(name).html):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = resolve(path).kwargs["name"] if path else name
        assert not anchor or anchor in documents.document(target).anchors, link


def test_every_page_of_the_console_has_a_section_or_is_said_to_need_none() -> None:
    pages = [pattern for pattern in get_resolver().url_patterns if isinstance(pattern, URLPattern)]  # the API is none
    for name in {pattern.name for pattern in pages}:
        if name in help.WITHOUT or name in help.SECTIONS:
            continue
        assert name in {"list", "add", "detail", "edit", "delete"}, f"webui/help.py does not name {name}"
    assert help.KINDS.keys() == KINDS.keys()
    assert not help.WITHOUT & help.SECTIONS.keys()


@pytest.mark.parametrize("section", sorted({*help.SECTIONS.values(), *help.KINDS.values()}))
def test_every_section_that_a_page_links_to_exists(section: tuple[str, str]) -> None:
    name, anchor = section
    assert not anchor or anchor in documents.document(name).anchors


def test_pages_carry_the_link_and_the_login_page_does_not(reader: Client) -> None:
    vserver = factories.vserver(factories.service())
    for address, section in (
        (reverse("dashboard"), "/docs/concepts/#states"),
        (reverse("list", args=["monitors"]), "/docs/monitors/"),
        (reverse("triangle", args=[vserver.pk]), "/docs/concepts/#diagram"),
    ):
        assert f'id="help" href="{section}"' in reader.get(address).content.decode()
    reader.logout()
    assert 'id="help"' not in reader.get(reverse("login")).content.decode()


def test_a_document_is_shown_with_its_contents_and_only_to_who_is_logged_in(reader: Client) -> None:
    assert reader.get(reverse("docs")).headers["Location"] == "/docs/concepts/"
    page = reader.get("/docs/concepts/").content.decode()
    assert '<h2 id="objects">Objects</h2>' in page
    assert '<a href="#objects">Objects</a>' in page
    assert '<a href="/docs/monitors/#probe-now">' in page
    assert reader.get("/docs/nothing-like-it/").status_code == 404
    reader.logout()
    assert reader.get("/docs/concepts/").status_code == 302


@pytest.mark.parametrize("name", ["../README", "..", "concepts.md", "a/b", ""])
def test_no_other_file_can_be_asked_for(name: str) -> None:
    with pytest.raises(FileNotFoundError):
        documents.document(name)


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a <b onclick=x>b</b>", "[x](javascript:alert(1))", "![x](data:text/html,y)"]
)
def test_markup_in_a_document_is_text(text: str) -> None:
    html = documents.render("x", text).html
    assert not re.search(r"<script|<b |href=|<img[^>]*data:", html)


@given(st.text())
def test_whatever_a_document_holds_no_tag_of_its_own_comes_out(text: str) -> None:
    html = documents.render("x", text).html
    tags = set(re.findall(r"</?([a-zA-Z0-9]+)", html))
    own = {"p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "pre", "code", "em", "strong", "a", "img", "hr"}
    assert tags <= own | {"br", "blockquote", "div", "table", "thead", "tbody", "tr", "th", "td"}


def test_headings_of_the_same_words_have_different_anchors() -> None:
    found = documents.render("x", "# A\n## What, now?\n## What, now?\n")
    assert [heading.anchor for heading in found.headings] == ["a", "what-now", "what-now-1"]
    assert (found.title, len(found.contents)) == ("A", 2)


def test_cells_carry_their_column_for_narrow_screens_and_no_style() -> None:
    html = documents.render("x", "| one | two |\n|---|--:|\n| 1 | 2 |\n").html
    assert '<td data-label="one">1</td>' in html
    assert '<td data-label="two">2</td>' in html
    assert "style" not in html
    assert "<td></td>\n<th scope" in documents.render("x", "| | two |\n|---|---|\n| 1 | 2 |\n").html


def test_the_calculator_adds_what_a_proxy_carries() -> None:
    load = Load(4, 400, 5)
    assert (load.proxy, load.dsr, load.factor) == (404, 4, 101)
    assert [result for _, result in load.lines()] == [
        "404 Mbit/s: exceeds 5 Mbit/s, packets queue",
        "4 Mbit/s: fits in 5 Mbit/s",
        "101 times as much",
    ]
    assert Load(0, 10, 5).lines()[2][1] == "any amount"


def test_the_calculator_works_by_its_form_alone_and_names_what_is_wrong(reader: Client) -> None:
    def ask(**values: Any) -> Any:
        return reader.get("/docs/considerations/", values)

    assert "101 times as much" in ask().content.decode()
    assert "11 times as much" in ask(requests="10", replies="100", tier="200").content.decode()
    wrong = ask(requests="-1", replies="100", tier="200")
    assert wrong.status_code == 422
    assert "greater than or equal to 0" in wrong.content.decode()
    assert not CalculatorForm({"requests": "x", "replies": "1", "tier": "nan"}).is_valid()
