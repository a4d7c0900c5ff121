"""Ready-made observers, which feed a metrics library with all that a listener's `Observer` is told of.

- `prometheus`: `PrometheusObserver`; its library comes with ``pgnotify-handler[prometheus]``.
- `opentelemetry`: `OpenTelemetryObserver`; its library comes with ``pgnotify-handler[otel]``.

Nothing in pgnotify imports them. An application that passes one to its listener does.
"""
