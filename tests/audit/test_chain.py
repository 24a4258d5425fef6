"""The chain: whatever is done to the rows, the first broken link is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import factories
from tests.audit.samples import entries, sql, without_triggers
from tests.examples import examples
from tests.factories import SYSTEM
from webui import auditing
from webui.actions import servers
from webui.actions.base import Actor
from webui.audit import chain
from webui.audit.links import Broken, Head, follow
from webui.audit.verify import head, parse_head, verify
from webui.choices import AuditVerb
from webui.models import AuditEntry, AuditHead

pytestmark = pytest.mark.django_db

COLUMNS = (
    "at, actor_id, actor_name, interface, verb, outcome, kind, object_name, reason, command, correlation,"
    " before, after, source_address, object_id, revision, previous, hash"
)
COPY_OF_2 = f"INSERT INTO webui_auditentry (id, {COLUMNS}) SELECT %s, {COLUMNS} FROM webui_auditentry WHERE id = 2"  # noqa: S608 - constants


def broken() -> Broken:
    found = verify().broken
    assert found is not None
    return found


def rehash(number: int) -> None:
    """What a careful forger does after altering an entry."""
    row = AuditEntry.objects.get(pk=number)
    sql("UPDATE webui_auditentry SET hash = %s WHERE id = %s", chain.digest(chain.content(row)), number)


def test_entries_are_numbered_without_gaps_and_each_names_the_one_before() -> None:
    servers.create(SYSTEM, {"name": "S", "address": "10.77.0.11"})
    with transaction.atomic():
        auditing.note(SYSTEM, AuditVerb.CALL)
        transaction.set_rollback(True)  # takes its number with it
    entries(3)
    found = list(AuditEntry.objects.order_by("pk"))
    assert [row.pk for row in found] == [1, 2, 3, 4]
    assert [row.previous for row in found] == [chain.GENESIS, *(row.hash for row in found[:-1])]
    assert head() == Head(4, found[-1].hash)
    verdict = verify()
    assert (verdict.broken, verdict.entries, verdict.warnings) == (None, 4, ())


def test_the_encoding_is_fixed() -> None:
    """Archives of today are to verify with the program of tomorrow."""
    fields = dict.fromkeys(chain.FIELDS, None) | {"sequence": 1, "object_name": "wéb", "previous": chain.GENESIS}
    assert chain.canonical(fields).startswith(b'{"actor_id":null,"actor_name":null,"after":null,"at":null,"before":')
    assert b'"object_name":"w\\u00e9b"' in chain.canonical(fields)
    assert chain.digest(fields) == "9dc96c521a650dde4577ab2d511801df6d76a58081096af191a47763408e15b4"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("actor_name", "somebody else"),
        ("at", "2001-02-03 04:05:06+00:00"),
        ("actor_id", 4711),
        ("source_address", "192.0.2.99"),
        ("verb", "delete"),
        ("outcome", "refused"),
        ("interface", "page"),
        ("object_id", 2),
        ("object_name", "web2"),
        ("reason", "because"),
        ("command", "rm server web1"),
        ("correlation", "0"),
        ("revision", 9),
        ("after", '{"comment": "rack 4"}'),
        ("before", '{"comment": ""}'),
    ],
)
def test_an_altered_field_is_found(field: str, value: Any) -> None:
    entries(5)
    with without_triggers():
        sql(f"UPDATE webui_auditentry SET {field} = %s WHERE id = 3", value)  # noqa: S608 - a constant
        assert broken() == Broken(3, "entry 3 was altered: its content does not give its hash.")
        rehash(3)
        found = broken()
    assert (found.sequence, "does not follow entry 3" in found.text) == (4, True)


def test_a_removed_entry_is_found() -> None:
    entries(5)
    with without_triggers():
        sql("DELETE FROM webui_auditentry WHERE id = 3")
    assert broken() == Broken(3, "entry 3 is missing: 4 comes after 2.")


def test_a_removed_first_entry_is_found() -> None:
    entries(4)
    with without_triggers():
        sql("DELETE FROM webui_auditentry WHERE id <= 2")
    assert broken() == Broken(1, "entries 1 to 2 are missing: 3 comes after 0.")


def test_a_removed_entry_whose_gap_was_closed_is_found() -> None:
    entries(5)
    with without_triggers():
        sql("DELETE FROM webui_auditentry WHERE id = 3")
        for number in (4, 5):
            sql("UPDATE webui_auditentry SET id = %s WHERE id = %s", number - 1, number)
    assert broken().sequence == 3


def test_swapped_entries_are_found() -> None:
    entries(5)
    with without_triggers():
        for old, new in ((2, 99), (4, 2), (99, 4)):
            sql("UPDATE webui_auditentry SET id = %s WHERE id = %s", new, old)
    assert broken().sequence == 2


def test_an_end_that_was_cut_off_is_found_by_the_head() -> None:
    entries(5)
    with without_triggers():
        sql("DELETE FROM webui_auditentry WHERE id > 3")
    assert broken() == Broken(4, "the end is cut off: the head is entry 5, the chain ends at 3.")


def test_an_end_that_was_cut_off_with_the_head_set_back_is_found_by_an_exported_head(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = entries(5)
    file = tmp_path / "head.json"
    call_command("audit", "head")
    file.write_text(capsys.readouterr().out)
    assert json.loads(file.read_text()) == {"sequence": 5, "hash": made[4].hash}
    call_command("audit", "verify", "--head", str(file))
    with without_triggers():
        sql("DELETE FROM webui_auditentry WHERE id > 3")
        sql("UPDATE webui_audithead SET sequence = 3, hash = %s", made[2].hash)
    call_command("audit", "verify")  # nothing here can tell
    with pytest.raises(CommandError, match="cut off: the exported head is entry 5, the chain ends at 3"):
        call_command("audit", "verify", "--head", str(file))
    entries(4)  # it goes on, and is longer than before
    with pytest.raises(CommandError, match=r"Broken at entry 5: .* another one than the head says"):
        call_command("audit", "verify", "--head", str(file))


def test_a_head_that_was_set_back_or_removed_is_found() -> None:
    made = entries(3)
    with without_triggers():
        sql("UPDATE webui_audithead SET sequence = 2, hash = %s", made[1].hash)
        assert broken() == Broken(3, "entry 3 was inserted: the head is entry 2.")
        sql("UPDATE webui_audithead SET sequence = 3, hash = %s", made[1].hash)
        assert broken().text.startswith("entry 3 is another one than the head says")
        sql("DELETE FROM webui_audithead")
    assert "the row of the head is gone" in broken().text
    entries(1)  # whatever happened, entries are written
    assert AuditHead.objects.get().sequence == 4


@pytest.mark.parametrize(("number", "told"), [(4, 4), (0, 0), (-7, -7)])
def test_an_inserted_entry_is_found(number: int, told: int) -> None:
    entries(3)
    sql(COPY_OF_2, number)
    assert broken().sequence == told


def test_an_entry_inserted_between_others_is_found() -> None:
    entries(4)
    with without_triggers():
        for number in (4, 3):
            sql("UPDATE webui_auditentry SET id = %s WHERE id = %s", number + 1, number)
        sql(COPY_OF_2, 3)
    assert broken().sequence == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE webui_auditentry SET reason = 'x' WHERE id = 2",
        "UPDATE webui_auditentry SET id = 99 WHERE id = 3",
        "DELETE FROM webui_auditentry WHERE id = 1",
        "DELETE FROM webui_auditentry",
        "UPDATE webui_audithead SET sequence = 1",
        "DELETE FROM webui_audithead",
    ],
)
def test_the_database_refuses_changes(statement: str) -> None:
    entries(3)
    with pytest.raises(DatabaseError, match=r"append-only|forward only"), transaction.atomic():
        sql(statement)
    assert verify().broken is None


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="SQLite has no TRUNCATE")
def test_truncate_is_refused() -> None:
    entries(3)
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        sql("TRUNCATE webui_auditentry")
    assert connection.vendor == "postgresql"


def test_missing_triggers_are_told_and_made_again() -> None:
    with without_triggers():
        assert "audit_entry_no_delete" in verify().warnings[0]
    assert verify().warnings == ()


def test_no_row_is_saved_past_the_chain() -> None:
    with pytest.raises(TypeError, match="append-only"):
        AuditEntry(actor_name="x", verb="create").save()
    user = factories.owner()
    servers.create(factories.actor(user), {"name": "S", "address": "10.77.0.11"})
    user.delete()
    assert verify().broken is None


def test_all_entries_of_a_request_have_one_correlation() -> None:
    actor = factories.actor(factories.owner())
    server = servers.create(actor, {"name": "S", "address": "10.77.0.11"})
    servers.delete(actor, server)
    assert [*AuditEntry.objects.values_list("correlation", flat=True)] == [actor.correlation] * 2
    assert len({auditing.new_correlation() for _ in range(100)}) == 100


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=examples(120), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.dictionaries(st.text(max_size=8), json_values, max_size=4), words=st.text(max_size=40))
def test_whatever_is_written_verifies_when_it_is_read_back(db: None, values: dict[str, Any], words: str) -> None:
    made = auditing.note(SYSTEM, AuditVerb.CALL, after=values, reason=words, object_name=words, kind=words)
    row = AuditEntry.objects.get(pk=made.pk)
    assert chain.digest(chain.content(row)) == row.hash == made.hash


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::ffff:192.0.2.7", "::ffff:192.0.2.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("unix:", None),
        (None, None),
    ],
)
def test_addresses_verify_however_they_are_written(given: str | None, kept: str | None) -> None:
    auditing.note(Actor(None, "system", given, "x"), AuditVerb.CALL)
    row = AuditEntry.objects.get()
    assert row.source_address == kept
    assert verify().broken is None


@given(st.integers(1, 12), st.data())
def test_no_sequence_but_the_written_one_is_a_chain(count: int, data: st.DataObject) -> None:
    """Any selection and order of entries of a chain that is not its beginning breaks."""
    made: list[dict[str, Any]] = []
    last = Head()
    for number in range(1, count + 1):
        entry: dict[str, Any] = dict.fromkeys(chain.FIELDS) | {"sequence": number, "previous": last.hash}
        entry["hash"] = chain.digest(entry)
        last = Head(number, entry["hash"])
        made.append(entry)
    chosen = data.draw(st.lists(st.sampled_from(made), max_size=count + 2))
    steps = list(follow(chosen, Head()))
    whole = chosen == made[: len(chosen)]
    assert any(isinstance(step, Broken) for step in steps) == (not whole)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"sequence": 1}', '{"sequence": -1, "hash": "0"}', "null"])
def test_a_head_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no head of the audit"):
        parse_head(text)
