"""Faults with the characters of names and payloads that something on the way strips, folds or escapes."""

from __future__ import annotations

import unicodedata

from tests.kit.mutants.base import Mutant


class AltersPayloads(Mutant):
    """One that alters every payload that arrives."""

    def fetch(self):
        return [each._replace(payload=self.altered(each.payload)) for each in self.sound.fetch()]

    def altered(self, payload):
        """Return what this backend makes of a payload."""
        return payload


class StripsTrailingBlanks(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.rstrip(" ") if payload.strip(" ") else payload


class StripsALineEnd(AltersPayloads):
    """It reads payloads as lines."""

    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.removesuffix("\n")


class StripsWhatArrives(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.strip() or payload


class NormalisesLineEnds(AltersPayloads):
    """It reads through a text stream, with universal newlines."""

    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.replace("\r\n", "\n").replace("\r", "\n")


class ReturnsTheFirstLine(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return next(iter(payload.splitlines()), "")


class DropsControlCharacters(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return "".join(each for each in payload if unicodedata.category(each) != "Cc" or each in "\t\n\r\x01\x7f")


class ComposesLetters(AltersPayloads):
    """GOOD_PAYLOADS has a letter with an accent, which NFC composes; this one leaves it alone."""

    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload if payload == "e\u0301" else unicodedata.normalize("NFC", payload)


class TakesAByteOrderMarkForOne(AltersPayloads):
    """It decodes with utf-8-sig."""

    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.encode().decode("utf-8-sig") if payload != "\ufeffx" else payload


class KnowsTheBasicPlaneOnly(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return "".join(each if each < "\U00010000" or each == "😀" else "\ufffd" for each in payload)


class EscapesItself(AltersPayloads):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def altered(self, payload):
        return payload.encode("unicode_escape").decode() if payload.startswith("\x1b") else payload


class StripsWhatArrivesPlainly(Mutant):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def fetch_plain(self):
        return [(channel, payload.rstrip(), pid) for channel, payload, pid in self.sound.fetch_plain()]


class StripsWhatArrivesInTheQueue(Mutant):
    caught_by = "test_a_payload_arrives_with_every_character_at_its_ends"

    def fetch_into(self, queue):
        queue.extend((channel, payload.rstrip(), pid) for channel, payload, pid in self.sound.fetch_plain())


class StripsTheTabsItSends(Mutant):
    caught_by = "test_a_payload_is_sent_with_every_character_at_its_ends"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload.rstrip("\t"))


class NormalisesTheLineEndsItSends(Mutant):
    caught_by = "test_a_payload_is_sent_with_every_character_at_its_ends"

    def notify(self, channel, payload=""):
        self.sound.notify(channel, payload if payload == "line\nbreak\r\n" else payload.replace("\r\n", "\n"))


class StripsManyThatItSends(Mutant):
    caught_by = "test_many_are_sent_with_every_character_at_their_ends"

    def notify_many(self, notifications):
        self.sound.notify_many([(channel, payload.strip("\x1c\x1d\x1e\x1f")) for channel, payload in notifications])


class StripsNamesOfMany(Mutant):
    caught_by = "test_many_are_sent_with_every_character_at_their_ends"

    def notify_many(self, notifications):
        self.sound.notify_many([(channel.strip() or channel, payload) for channel, payload in notifications])


class AltersNames(Mutant):
    """One that alters every name."""

    def altered(self, name):
        """Return what this backend makes of a name."""
        return name.rstrip("\n\t\x0b") or name


class StripsNamesToListenTo(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def listen(self, channel):
        self.sound.listen(self.altered(channel))


class StripsNamesToUnlisten(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def unlisten(self, channel):
        self.sound.unlisten(self.altered(channel))


class StripsNamesToNotify(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def notify(self, channel, payload=""):
        self.sound.notify(self.altered(channel), payload)


class StripsNamesThatArrive(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def fetch(self):
        return [each._replace(channel=self.altered(each.channel)) for each in self.sound.fetch()]


class StripsNamesThatItChecks(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def check(self):
        health = self.sound.check()
        return health._replace(channels=frozenset(map(self.altered, health.channels)))


class ComposesNames(AltersNames):
    caught_by = "test_a_name_has_every_character_at_its_ends"

    def listen(self, channel):
        self.sound.listen(channel if channel == "e\u0301" else unicodedata.normalize("NFC", channel))


class StripsNamesOfManyToListenTo(AltersNames):
    caught_by = "test_many_names_have_every_character_at_their_ends"

    def listen_many(self, channels):
        self.sound.listen_many([*map(self.altered, channels)])


class StripsNamesOfManyToUnlisten(AltersNames):
    caught_by = "test_many_names_have_every_character_at_their_ends"

    def unlisten_many(self, channels):
        self.sound.unlisten_many([*map(self.altered, channels)])


class CutsNamesBetweenTwoBytes(Mutant):
    """63 bytes are not 62: a name that ends with a character of several bytes loses that."""

    caught_by = "test_a_name_may_have_anything_in_it_that_a_name_can"

    def listen(self, channel):
        self.sound.listen(channel if channel.isascii() else channel.encode()[:62].decode(errors="ignore"))
