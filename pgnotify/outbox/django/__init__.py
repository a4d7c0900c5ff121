"""The outbox as an app of Django's, whose migration makes the tables: ``INSTALLED_APPS = ["pgnotify.outbox.django"]``.

The setting PGNOTIFY_OUTBOX says which outbox that is. It is a dictionary, and everything in it may be left out: name,
schema and max_age, as for `pgnotify.Outbox`; senders and readers, as for `pgnotify.Outbox.install_sql`.

Nothing else in pgnotify imports this package.

- `apps`: the app.
- `migrations`: they make the tables, and remove them again with ``migrate pgnotify_outbox zero``.
"""

from __future__ import annotations

from typing import Any

from pgnotify.outbox.outbox import Outbox


def outbox() -> Outbox:
    """Return the outbox of this project, to send to and to listen with.

    Raises:
        ValueError, TypeError: the setting PGNOTIFY_OUTBOX is not possible.
    """
    options, _ = _setting()
    return Outbox(**options)


def install_sql() -> str:
    """Return the statements that make it; see `pgnotify.Outbox.install_sql`."""
    options, roles = _setting()
    return Outbox(**options).install_sql(**roles)


def _setting() -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments for `Outbox`, and those for `install_sql`."""
    from django.conf import settings

    options = dict(getattr(settings, "PGNOTIFY_OUTBOX", {}))
    roles = {name: options.pop(name) for name in ("senders", "readers") if name in options}
    return options, roles
