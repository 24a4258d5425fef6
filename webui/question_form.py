"""The form that asks what becomes of a client's packet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django import forms

from dataplane.explain_query import Query, QueryError, parse_query

# Names of the fields, by those that errors of a query carry
FIELDS = {"from": "client", "to": "vip", "protocol": "protocol", "sport": "sport", "dport": "dport"}
NO_SPELLING = {"autocomplete": "off", "spellcheck": "false"}


class QuestionForm(forms.Form):
    """Client, VIP, protocol and ports. ``query`` is what is asked, once the form is valid."""

    client = forms.CharField(
        label="Client address",
        max_length=64,
        widget=forms.TextInput(attrs=NO_SPELLING | {"placeholder": "192.0.2.7"}),
        error_messages={"required": "Give the address of a client."},
    )
    vip = forms.CharField(label="VIP", max_length=64, widget=forms.TextInput(attrs=NO_SPELLING | {"list": "vips"}))
    protocol = forms.CharField(
        max_length=16,
        initial="tcp",
        widget=forms.TextInput(attrs=NO_SPELLING),
        help_text="tcp, udp, icmp … or a number.",
    )
    dport = forms.CharField(
        label="Port", max_length=8, required=False, widget=forms.TextInput(attrs=NO_SPELLING), help_text="Empty: 80."
    )
    sport = forms.CharField(
        label="Client's port",
        max_length=8,
        required=False,
        widget=forms.TextInput(attrs=NO_SPELLING),
        help_text="Counts only where the method hashes it. Empty: 40000.",
    )
    director = forms.ChoiceField(required=False)

    def __init__(self, *args: Any, directors: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.query = Query()
        if len(directors) > 1:
            self.fields["director"] = forms.ChoiceField(required=False, choices=[(name, name) for name in directors])
        else:
            del self.fields["director"]

    def clean(self) -> dict[str, Any]:
        """Make the query; its errors go to their fields."""
        given = self.cleaned_data
        if self.errors:
            return given
        try:
            self.query = parse_query(given["client"], given["vip"], given["protocol"], given["sport"], given["dport"])
        except QueryError as error:
            name, _, text = str(error).partition(": ")
            self.add_error(FIELDS[name], text)
        return given
