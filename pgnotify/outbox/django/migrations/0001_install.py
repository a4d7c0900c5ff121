"""Make the tables of version 1. The way back removes them, with all messages."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations

from pgnotify.outbox.django import install_sql, outbox


class RunOnPostgreSQL(migrations.RunSQL):  # type: ignore[misc]  # untyped
    """Run SQL on the databases of a project that are PostgreSQL, and nothing on others."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """See Django."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        """See Django."""
        if schema_editor.connection.vendor == "postgresql":
            super().database_backwards(app_label, schema_editor, from_state, to_state)


class Migration(migrations.Migration):  # type: ignore[misc]  # untyped
    """See the module."""

    initial = True
    operations: ClassVar = [RunOnPostgreSQL(install_sql(), outbox().uninstall_sql())]
