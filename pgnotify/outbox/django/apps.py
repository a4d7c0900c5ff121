"""The app, with a label that says whose it is."""

from __future__ import annotations

from django.apps import AppConfig


class OutboxConfig(AppConfig):  # type: ignore[misc]  # untyped
    """It has no models: nobody writes to the tables other than pgnotify."""

    name = "pgnotify.outbox.django"
    label = "pgnotify_outbox"
    verbose_name = "pgnotify's outbox"
