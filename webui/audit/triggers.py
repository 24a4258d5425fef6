"""Triggers that keep the audit append-only, whoever is connected to the database.

No UPDATE at all, DELETE only of entries that an anchor (a row of AuditArchive) says are in an archive file, and the
head goes forward only. PostgreSQL's TRUNCATE is refused too. Who owns the tables can drop the triggers: that is what
the hash chain shows.

SQLite makes a table anew for many a migration and forgets its triggers, so they are installed after each ``migrate``.
"""

from __future__ import annotations

from typing import Any, Final

ENTRIES: Final = "webui_auditentry"
HEAD: Final = "webui_audithead"
ARCHIVES: Final = "webui_auditarchive"

_ARCHIVED = f"OLD.id > COALESCE((SELECT MAX(last) FROM {ARCHIVES}), 0)"  # noqa: S608 - a constant
# By name: of which table and event, under which condition (empty: always), with what message.
RULES: Final[dict[str, tuple[str, str, str, str]]] = {
    "audit_entry_no_update": (ENTRIES, "UPDATE", "", "audit entries are append-only"),
    "audit_entry_no_delete": (ENTRIES, "DELETE", _ARCHIVED, "audit entries are append-only"),
    "audit_archive_no_update": (ARCHIVES, "UPDATE", "", "anchors of the audit are append-only"),
    "audit_archive_no_delete": (ARCHIVES, "DELETE", "", "anchors of the audit are append-only"),
    "audit_head_forward": (HEAD, "UPDATE", "NEW.sequence < OLD.sequence", "the head of the audit goes forward only"),
    "audit_head_no_delete": (HEAD, "DELETE", "", "the head of the audit goes forward only"),
}


def install(connection: Any) -> None:
    """Make the triggers that are missing. Raises NotImplementedError for a database that has none written."""
    there = present(connection)
    with connection.cursor() as cursor:
        for name in wanted(connection) - there:
            for statement in _statements(connection.vendor, name):
                cursor.execute(statement)


def remove(connection: Any) -> None:
    """Drop the triggers: for a migration backwards, and to empty a database of tests."""
    with connection.cursor() as cursor:
        for name in present(connection):
            table = RULES[name.removesuffix("_all")][0]
            cursor.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if connection.vendor == "postgresql" else ""))


def wanted(connection: Any) -> set[str]:
    """Names of the triggers that there should be."""
    if connection.vendor == "sqlite":
        return set(RULES)
    if connection.vendor == "postgresql":
        return set(RULES) | {f"{name}_all" for name, rule in RULES.items() if rule[1] == "DELETE"}
    msg = f"The audit has no triggers for {connection.vendor}: use SQLite or PostgreSQL."
    raise NotImplementedError(msg)


def present(connection: Any) -> set[str]:
    """Names of the triggers that are there and not switched off."""
    if connection.vendor == "sqlite":
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    else:
        query = (
            "SELECT tgname FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid WHERE tgenabled IN ('O', 'A')"
            " AND pg_class.relnamespace = current_schema()::regnamespace"
        )
    with connection.cursor() as cursor:
        cursor.execute(query)
        return {row[0] for row in cursor.fetchall()} & wanted(connection)


def _statements(vendor: str, name: str) -> list[str]:
    table, event, condition, message = RULES[name.removesuffix("_all")]
    if vendor == "sqlite":
        when = f" WHEN {condition}" if condition else ""
        return [f"CREATE TRIGGER {name} BEFORE {event} ON {table}{when} BEGIN SELECT RAISE(ABORT, '{message}'); END"]
    function = (
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    if name.endswith("_all"):
        made = f"CREATE TRIGGER {name} BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        return [function, made]
    # A condition with a query is not allowed in WHEN: it stands in the function.
    guard = f"IF NOT ({condition}) THEN RETURN {'OLD' if event == 'DELETE' else 'NEW'}; END IF; " if condition else ""
    function = function.replace("BEGIN ", f"BEGIN {guard}", 1)
    return [function, f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW EXECUTE FUNCTION {name}()"]
