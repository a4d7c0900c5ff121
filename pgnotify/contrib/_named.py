"""Which channels a metric names: a channel that is made up at run time would be a time series of its own."""

from __future__ import annotations

from collections.abc import Iterable

from pgnotify.limits import check_channel


class NamedChannels:
    """The channels that have a label of their own.

    Args:
        channels: their names, as written.
        key: the name of that label.

    Raises:
        ChannelError: PostgreSQL would refuse or cut a name.
        TypeError: it is one name, not several, or a name is not a str.
    """

    def __init__(self, channels: Iterable[str], key: str = "channel") -> None:
        if isinstance(channels, str):
            raise TypeError(f"channels must be several names, such as [{channels!r}], not a str")
        self._names = frozenset(map(check_channel, channels))
        self._key = key

    def label(self, channel: str | None) -> str:
        """Return the name of a channel that is named; "" for all others."""
        return channel if channel is not None and channel in self._names else ""

    def attributes(self, channel: str | None) -> dict[str, str]:
        """Return the label of a channel as a dict, which is empty if the channel is not named."""
        label = self.label(channel)
        return {self._key: label} if label else {}
