"""A gauge of OpenTelemetry that is set now and then, and has its value in every export."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter, Observation


class LastingGauge:
    """Keeps the latest value for each set of attributes, and has the meter ask for them.

    A gauge of the meter's own would do, but the SDK exported it only in the interval in which it was set: seen with
    1.30 to 1.39, not with 1.45. The state of a listener may be set once a month.

    Args:
        meter: makes it.
        name: of the metric.
        unit: of its values.
        description: of the metric.
    """

    def __init__(self, meter: Meter, name: str, unit: str, description: str) -> None:
        self._latest: dict[tuple[tuple[str, str], ...], float] = {}
        meter.create_observable_gauge(name, [self._observe], unit, description)

    def set(self, value: float, attributes: dict[str, str]) -> None:
        """Set the value for these attributes. Any thread may call this."""
        self._latest[tuple(attributes.items())] = value

    def _observe(self, _: Any) -> Iterable[Observation]:
        from opentelemetry.metrics import Observation

        return [Observation(value, dict(attributes)) for attributes, value in self._latest.copy().items()]
