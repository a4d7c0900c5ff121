"""Names and payloads, whose every character arrives: also one that is often stripped, folded, or taken for an end."""

from __future__ import annotations

from pgnotify.protocol import ListensMany, NotifiesMany, UnlistensMany, listen_to_all
from pgnotify.testing.conformance._tools import not_applicable, same, ways_to_fetch
from pgnotify.testing.conformance.kit import Kit
from pgnotify.testing.nasty import EDGES


class Characters(Kit):
    """The promises of all verbs about text: "the name is taken as written", and the payload as sent."""

    promised_in = "Backend"

    def test_a_payload_arrives_with_every_character_at_its_ends(self) -> None:
        self.backend.listen(self.channel)

        for way, fetch in ways_to_fetch(self.backend).items():
            self.session.notify_all(self.channel, EDGES)
            arrived = self.collect(len(EDGES), fetch=fetch)
            same([each.payload for each in arrived], [*EDGES], f"the payloads that {way} returned")

    def test_a_payload_is_sent_with_every_character_at_its_ends(self) -> None:
        self.backend.listen(self.channel)

        for payload in EDGES:
            self.backend.notify(self.channel, payload)

        same(self.payloads(len(EDGES)), [*EDGES], "the payloads that notify() sent")

    def test_many_are_sent_with_every_character_at_their_ends(self) -> None:
        if not isinstance(self.backend, NotifiesMany):
            raise not_applicable("the backend does not offer notify_many()")
        listen_to_all(self.backend, EDGES)

        self.backend.notify_many([(edge, edge) for edge in EDGES])

        arrived = [(each.channel, each.payload) for each in self.collect(len(EDGES))]
        same(arrived, [(edge, edge) for edge in EDGES], "the channels and payloads that notify_many() sent")

    def test_a_name_has_every_character_at_its_ends(self) -> None:
        for edge in EDGES:
            self.backend.listen(edge)
        self.listens_to(EDGES, among=EDGES)

        for edge in EDGES:
            self.backend.notify(edge)
        same([each.channel for each in self.collect(len(EDGES))], [*EDGES], "the channels that notify() sent to")

        self.backend.listen(self.channel)
        for edge in EDGES:
            self.backend.unlisten(edge)
        self.listens_to([self.channel], among=EDGES)

    def test_many_names_have_every_character_at_their_ends(self) -> None:
        if not isinstance(self.backend, ListensMany):
            raise not_applicable("the backend does not offer listen_many()")
        self.backend.listen_many(EDGES)
        self.listens_to(EDGES, among=EDGES)

        if isinstance(self.backend, UnlistensMany):
            self.backend.listen(self.channel)
            self.backend.unlisten_many(EDGES)
            self.listens_to([self.channel], among=EDGES)
