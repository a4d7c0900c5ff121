"""Each sslmode, with each root certificate, at each server: pg8000 answers as libpq does, and asyncpg as pg8000.

libpq's own answer is psycopg's. What differs between the answers of two releases of libpq is not tested here.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import pgnotify
from pgnotify.registry import DRIVERS
from pgnotify.testing import NoPostgreSQL, ServerFailed, TemporaryPostgreSQL, find_postgresql

trustme = pytest.importorskip("trustme")
psycopg = pytest.importorskip("psycopg")

pytestmark = pytest.mark.drivers("pg8000")

SSL_MODES = (None, "disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SERVERS = ("good", "wrong name", "other authority", "expired", "no TLS")
# The value of sslrootcert, the authority in ~/.postgresql/root.crt, and the authority that the system trusts.
ROOTS: dict[str, tuple[str | None, str | None, str | None]] = {
    "none": (None, None, None),
    "right": ("authority.crt", None, None),
    "right, the default wrong": ("authority.crt", "stranger.crt", None),
    "wrong": ("stranger.crt", None, None),
    "missing": ("missing.crt", None, None),
    "not a certificate": ("authority.key", None, None),
    "default, right": (None, "authority.crt", None),
    "default, wrong": (None, "stranger.crt", None),
    "empty, default wrong": ("", "stranger.crt", None),
    "system, trusting": ("system", None, "authority.crt"),
    "system, not trusting": ("system", None, "stranger.crt"),
}
TRUSTING = ("host all all 127.0.0.1/32 trust",)
NO_SETTINGS: Mapping[str, Any] = MappingProxyType({})


@pytest.fixture(scope="module")
def certificates(tmp_path_factory) -> Path:
    """A directory with an authority, a stranger, and a pair of files for each server with TLS."""
    directory: Path = tmp_path_factory.mktemp("certificates")
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.crt")
    authority.private_key_pem.write_to_path(directory / "authority.key")
    stranger.cert_pem.write_to_path(directory / "stranger.crt")
    long_ago = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
    issued = {
        "good": authority.issue_cert("localhost", "127.0.0.1"),
        "wrong name": authority.issue_cert("elsewhere.example"),
        "other authority": stranger.issue_cert("localhost", "127.0.0.1"),
        "expired": authority.issue_cert("localhost", not_after=long_ago),
    }
    for name, certificate in issued.items():
        certificate.cert_chain_pems[0].write_to_path(directory / f"{name}.crt")
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
    return directory


@pytest.fixture(scope="module")
def servers(certificates) -> Iterator[Callable[[str], TemporaryPostgreSQL]]:
    """A function that returns the server of a name; each is started when it is first wanted."""
    running: dict[str, TemporaryPostgreSQL] = {}
    with ExitStack() as stack:

        def server(name: str) -> TemporaryPostgreSQL:
            if name not in running:
                pair = (certificates / f"{name}.crt", certificates / f"{name}.key")
                running[name] = stack.enter_context(_started(None if name == "no TLS" else pair))
            return running[name]

        yield server


def _started(
    tls: tuple[Path, Path] | None, hba: tuple[str, ...] = TRUSTING, settings: Mapping[str, Any] = NO_SETTINGS
) -> TemporaryPostgreSQL:
    reasons = []
    for where in ("system", "celerp"):
        try:
            server = TemporaryPostgreSQL(find_postgresql(where), tls=tls, hba=hba, settings=settings)
            server.start()
        except (NoPostgreSQL, ServerFailed) as error:
            reasons.append(f"{where}: {str(error).splitlines()[0]}")
        else:
            return server
    pytest.skip(f"no PostgreSQL with TLS: {'; '.join(reasons)}")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """The user's home, with an empty ~/.postgresql."""
    (tmp_path / ".postgresql").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def address(servers) -> Callable[[str], dict[str, str]]:
    """A function that returns the parameters of a server."""

    def parameters(name: str) -> dict[str, str]:
        port = str(servers(name).port)
        return {"host": "localhost", "hostaddr": "127.0.0.1", "port": port, "user": "postgres", "dbname": "postgres"}

    return parameters


WITH_TLS = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


def outcome_of_libpq(parameters: dict[str, str]) -> str:
    try:
        connection = psycopg.connect(**parameters)
    except psycopg.Error:
        return "refused"
    with connection:
        return "TLS" if connection.execute(WITH_TLS).fetchone() == (True,) else "plain"


def outcome(parameters: dict[str, str]) -> str:
    try:
        connection = pgnotify.connect(driver="pg8000", **parameters)
    except Exception:
        return "refused"
    with connection:
        assert isinstance(connection.connection.run(WITH_TLS), list)
        return "TLS" if connection.connection.run(WITH_TLS) == [[True]] else "plain"


def refuse_old(parameters: dict[str, str]) -> None:
    if parameters.get("sslrootcert") == "system" and psycopg.pq.version() < 160000:
        pytest.skip(f"not applicable: libpq {psycopg.pq.version()} does not know sslrootcert=system")


@pytest.fixture
def trust(home, certificates, monkeypatch) -> Callable[[str], dict[str, str]]:
    """A function that sets up what an entry of ROOTS says, and returns the parameters for it."""

    def prepared(root: str) -> dict[str, str]:
        named, default, of_the_system = ROOTS[root]
        if default is not None:
            (home / ".postgresql" / "root.crt").write_bytes((certificates / default).read_bytes())
        if of_the_system is not None:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificates / of_the_system))
            monkeypatch.setenv("SSL_CERT_DIR", str(home))
        if named in (None, "", "system"):
            return {} if named is None else {"sslrootcert": named}
        return {"sslrootcert": str(certificates / named)}

    return prepared


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("sslmode", SSL_MODES, ids=str)
def test_the_outcome_is_libpqs(address, trust, sslmode: str | None, root: str, server: str):
    parameters = address(server) | trust(root) | ({"sslmode": sslmode} if sslmode else {})
    refuse_old(parameters)

    assert outcome(parameters) == outcome_of_libpq(parameters)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("root", ["right", "wrong", "system, trusting", "system, not trusting"])
@pytest.mark.parametrize("sslmode", SSL_MODES, ids=str)
def test_the_outcome_is_libpqs_if_the_environment_says_it(
    address, trust, monkeypatch, sslmode: str | None, root: str, server: str
):
    parameters, of_root = address(server), trust(root)
    refuse_old(of_root)
    monkeypatch.setenv("PGSSLROOTCERT", of_root["sslrootcert"])
    if sslmode:
        monkeypatch.setenv("PGSSLMODE", sslmode)

    assert outcome(parameters) == outcome_of_libpq(parameters)


@pytest.mark.parametrize("root", ["right", "wrong", "system, trusting"])
@pytest.mark.parametrize("sslmode", [None, "verify-ca", "verify-full"], ids=str)
@pytest.mark.parametrize("host", ["", "127.0.0.1"])
def test_an_address_alone_is_not_a_name_as_for_libpq(address, trust, sslmode: str | None, root: str, host: str):
    parameters = address("good") | {"host": host} | trust(root) | ({"sslmode": sslmode} if sslmode else {})
    refuse_old(parameters)

    assert outcome(parameters) == outcome_of_libpq(parameters)


async def outcome_of_asyncpg(parameters: dict[str, str]) -> str:
    from pgnotify.backends.asyncpg import connect, wrap

    try:
        connection = await connect(parameters)
    except Exception:
        return "refused"
    backend = wrap(connection)
    await backend.listen("x")
    await backend.notify_many([("x", f"{number} {'x' * 7900}") for number in range(100)])
    arrived: list[str] = []
    while found := backend.fetch():
        arrived += [each.payload.split()[0] for each in found]
    assert arrived == [str(number) for number in range(100)]
    with_tls = await connection.fetchval(WITH_TLS)
    await connection.close()
    return "TLS" if with_tls else "plain"


@pytest.mark.parametrize("server", ["good", "wrong name", "no TLS"])
@pytest.mark.parametrize("root", ["right", "wrong", "none"])
@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-full"])
def test_the_outcome_with_asyncpg_is_libpqs(address, trust, sslmode: str, root: str, server: str):
    pytest.importorskip("asyncpg")
    parameters = address(server) | trust(root) | {"sslmode": sslmode}

    assert asyncio.run(outcome_of_asyncpg(parameters)) == outcome_of_libpq(parameters)


# Other parameters of TLS.


@pytest.mark.parametrize("sslmode", ["prefer", "require", "verify-full"])
@pytest.mark.parametrize("keyword", ["sslcrl", "the default"])
@pytest.mark.parametrize("revoked", ["good", "wrong name"])
def test_a_revoked_certificate_is_refused_as_by_libpq(
    address, trust, home, certificates, sslmode: str, keyword: str, revoked: str
):
    parameters = address("good") | trust("right") | {"sslmode": sslmode}
    path = home / "mine.crl" if keyword == "sslcrl" else home / ".postgresql" / "root.crl"
    path.write_bytes(revocations(certificates, revoked))
    parameters |= {"sslcrl": str(path)} if keyword == "sslcrl" else {}

    assert outcome(parameters) == outcome_of_libpq(parameters)
    assert (outcome(parameters) == "TLS") is (revoked != "good")


def revocations(certificates: Path, name: str) -> bytes:
    """Return the authority's list of revoked certificates, with that of one server."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    authority = x509.load_pem_x509_certificate((certificates / "authority.crt").read_bytes())
    key = serialization.load_pem_private_key((certificates / "authority.key").read_bytes(), None)
    server = x509.load_pem_x509_certificate((certificates / f"{name}.crt").read_bytes())
    now = datetime.datetime.now(datetime.timezone.utc)
    revoked = x509.RevokedCertificateBuilder().serial_number(server.serial_number).revocation_date(now).build()
    crl = x509.CertificateRevocationListBuilder().issuer_name(authority.subject).last_update(now)
    crl = crl.next_update(now + datetime.timedelta(days=1)).add_revoked_certificate(revoked)
    signed = crl.sign(key, hashes.SHA256())  # type: ignore[arg-type]
    return signed.public_bytes(serialization.Encoding.PEM)


@pytest.fixture(scope="module")
def certificate_server(certificates) -> Iterator[TemporaryPostgreSQL]:
    """A server that lets in clients with a certificate only."""
    settings = {"ssl_ca_file": certificates / "authority.crt"}
    hba = ("hostssl all all 127.0.0.1/32 trust clientcert=verify-ca",)
    with _started((certificates / "good.crt", certificates / "good.key"), hba, settings) as server:
        yield server


CLIENTS: dict[str, tuple[int | None, int | None, str]] = {
    # The modes of the certificate and the key in ~/.postgresql, None for absent ones; sslcertmode.
    "none": (None, None, "allow"),
    "both": (0o644, 0o600, "allow"),
    "both, not wanted": (0o644, 0o600, "disable"),
    "no key": (0o644, None, "allow"),
    "a key for all": (0o644, 0o644, "allow"),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_the_default_certificate_of_the_client_is_sent_as_by_libpq(certificate_server, home, certificates, client: str):
    certificate_mode, key_mode, sslcertmode = CLIENTS[client]
    for suffix, mode in (("crt", certificate_mode), ("key", key_mode)):
        if mode is not None:
            path = home / ".postgresql" / f"postgresql.{suffix}"
            path.write_bytes((certificates / f"wrong name.{suffix}").read_bytes())
            path.chmod(mode)
    parameters = {"host": "127.0.0.1", "port": str(certificate_server.port), "user": "postgres", "dbname": "postgres"}
    parameters |= {"sslcertmode": sslcertmode, "sslmode": "require"}

    assert outcome(parameters) == outcome_of_libpq(parameters)
    assert (outcome(parameters) == "TLS") is (client == "both")


OTHERS = [
    ("sslnegotiation", "direct"),
    ("sslnegotiation", "postgres"),
    ("sslcertmode", "require"),
    ("sslcertmode", "disable"),
    ("channel_binding", "require"),
    ("channel_binding", "bogus"),
    ("require_auth", "scram-sha-256"),
    ("require_auth", ""),
    ("ssl_min_protocol_version", "TLSv1.3"),
    ("ssl_min_protocol_version", "SSLv3"),
    ("ssl_max_protocol_version", "TLSv1.2"),
    ("ssl_max_protocol_version", "bogus"),
    ("sslsni", "0"),
    ("sslcompression", "1"),
    ("gssencmode", "require"),
    ("gssencmode", "disable"),
    ("krbsrvname", "x"),
    ("requirepeer", "nobody"),
    ("min_protocol_version", "3.2"),
    ("max_protocol_version", "3.2"),
    ("oauth_client_id", "x"),
]


@pytest.mark.parametrize(("keyword", "value"), OTHERS)
@pytest.mark.parametrize("sslmode", ["prefer", "require"])
def test_another_parameter_has_libpqs_effect_or_is_refused_by_name(
    address, home, keyword: str, value: str, sslmode: str
):
    parameters = address("good") | {"sslmode": sslmode, keyword: value}
    refusal = ""
    try:
        pgnotify.connect(driver="pg8000", **parameters).close()
    except ValueError as error:
        refusal = str(error)

    assert keyword in refusal or outcome(parameters) == outcome_of_libpq(parameters)


def test_both_limits_of_the_version_apply(address, home):
    limited = address("good") | {"sslmode": "require", "ssl_max_protocol_version": "TLSv1.2"}

    with pgnotify.connect(driver="pg8000", **limited) as connection:
        assert connection.connection._usock.version() == "TLSv1.2"
    with pytest.raises(ValueError, match="ssl_max_protocol_version"):
        pgnotify.connect(driver="pg8000", **limited, ssl_min_protocol_version="TLSv1.3")


@pytest.mark.parametrize("driver", [pytest.param(name, marks=pytest.mark.drivers(name)) for name in DRIVERS])
@pytest.mark.parametrize("server", ["other authority", "no TLS"])
def test_no_driver_connects_to_a_stranger_where_the_system_is_to_vouch(address, home, driver: str, server: str):
    """Not even with a libpq before 16, for which "system" is the name of a file, which is not there."""
    with pytest.raises(Exception, match=r"(?i)certificate|SSL"):
        pgnotify.connect(driver=driver, **address(server), sslrootcert="system")


@pytest.mark.parametrize("driver", [pytest.param(name, marks=pytest.mark.drivers(name)) for name in DRIVERS])
@pytest.mark.parametrize("sslmode", ["disable", "prefer", "verify-ca"])
def test_a_weak_sslmode_beside_system_is_refused_in_libpqs_words(monkeypatch, driver: str, sslmode: str):
    expected = f'weak sslmode "{sslmode}" may not be used with sslrootcert=system \\(use "verify-full"\\)'

    with pytest.raises(ValueError, match=expected):
        pgnotify.connect("host=localhost sslrootcert=system", driver=driver, sslmode=sslmode)
    monkeypatch.setenv("PGSSLMODE", sslmode)
    with pytest.raises(ValueError, match=expected):
        pgnotify.Listener("host=localhost sslrootcert=system", driver=driver)
