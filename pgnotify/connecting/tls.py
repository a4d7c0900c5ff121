"""TLS with the files, the defaults and the strictness of libpq, for a driver that has no libpq.

This module decides which attempts to make, with TLS or without, and what each of them verifies. It opens no connection.

The rules are those of the PostgreSQL 18 documentation, 34.19 (SSL support). Where the documentation is silent, the rule
is the behaviour of libpq 18.6, and the tests compare each combination of sslmode, sslrootcert and certificate with it.
In one thing this module is stricter: a file that is named and does not exist is an error, except a root certificate
that is not going to be verified.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pgnotify.connecting.hosts import Address
from pgnotify.connecting.keywords import SYSTEM_ROOTS
from pgnotify.connecting.user_files import tls_file

_VERSIONS = {
    "tlsv1": ssl.TLSVersion.TLSv1,
    "tlsv1.1": ssl.TLSVersion.TLSv1_1,
    "tlsv1.2": ssl.TLSVersion.TLSv1_2,
    "tlsv1.3": ssl.TLSVersion.TLSv1_3,
}
_OLDEST_VERSION = ssl.TLSVersion.TLSv1_2  # libpq's default, and Python's. Older ones stay off, even if they are allowed


def attempts(address: Address, parameters: Mapping[str, str]) -> Iterator[bool]:
    """Yield for each attempt to make whether it uses TLS; the next one is for the case that the one before fails."""
    mode = parameters.get("sslmode", "prefer")
    if address.unix_socket is not None or mode == "disable":
        yield False
        return
    if mode == "allow":
        yield False
    yield True
    if mode == "prefer":
        yield False


def context(address: Address, parameters: Mapping[str, str]) -> ssl.SSLContext:
    """Return the context for a connection with TLS.

    Raises:
        ValueError: a file does not exist, cannot be read, or can be read by others; or the host has no name to verify.
            The message names the keyword and the file.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _limit_versions(made, parameters)
    _verify(made, address, parameters)
    if parameters.get("sslcertmode") != "disable":
        _identify(made, parameters)
    return made


def check(parameters: Mapping[str, str]) -> None:
    """Refuse a version of TLS that there is not, and a file that is named and does not exist, before anything is sent.

    Otherwise sslmode=prefer would connect without TLS.

    Raises:
        ValueError: the message names the keyword and the file or the version.
    """
    _limits(parameters)
    for keyword in ("sslcert", "sslkey", "sslcrl", "sslcrldir"):
        if parameters.get(keyword):
            _refuse_missing(keyword, Path(parameters[keyword]))


def _limits(parameters: Mapping[str, str]) -> tuple[ssl.TLSVersion | None, ssl.TLSVersion | None]:
    """Return the oldest and the newest version of TLS that the parameters allow; None where they leave it open."""
    oldest = _version("ssl_min_protocol_version", parameters)
    newest = _version("ssl_max_protocol_version", parameters)
    if newest is not None and newest < max(oldest or _OLDEST_VERSION, _OLDEST_VERSION):
        raise ValueError("ssl_max_protocol_version must be at least TLSv1.2 and the ssl_min_protocol_version")
    return oldest, newest


def _limit_versions(made: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    oldest, newest = _limits(parameters)
    if oldest is not None and oldest > _OLDEST_VERSION:
        made.minimum_version = oldest
    if newest is not None:
        made.maximum_version = newest


def _version(keyword: str, parameters: Mapping[str, str]) -> ssl.TLSVersion | None:
    text = parameters.get(keyword)
    if text and text.lower() not in _VERSIONS:
        raise ValueError(f"{keyword} must be one of TLSv1, TLSv1.1, TLSv1.2, TLSv1.3, not {text!r}")
    return _VERSIONS[text.lower()] if text else None


def _verify(made: ssl.SSLContext, address: Address, parameters: Mapping[str, str]) -> None:
    mode = parameters.get("sslmode", "prefer")
    made.check_hostname = mode == "verify-full"
    if made.check_hostname and not address.host:
        raise ValueError("sslmode=verify-full needs a host to verify; hostaddr alone is not a name")
    if parameters.get("sslrootcert") == SYSTEM_ROOTS:
        made.load_default_certs()
        return
    root = _path("sslrootcert", "root.crt", parameters)
    if root is not None and root.exists():  # then every sslmode verifies the authority
        _load("sslrootcert", root, made.load_verify_locations)
        _load_revocations(made, parameters)
    elif mode.startswith("verify"):
        raise ValueError(
            f"sslrootcert: there is no file {str(root)!r}; "
            f"name one, use sslrootcert={SYSTEM_ROOTS}, or choose another sslmode"
        )
    else:
        made.verify_mode = ssl.CERT_NONE


def _load_revocations(made: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    named = {keyword: Path(parameters[keyword]) for keyword in ("sslcrl", "sslcrldir") if parameters.get(keyword)}
    default = tls_file("root.crl")
    if not named and default is not None and default.exists():
        named["sslcrl"] = default
    for keyword, path in named.items():
        _load(keyword, path, lambda place: made.load_verify_locations(*_as_file_or_directory(place)))
        made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _as_file_or_directory(path: Path) -> tuple[Path | None, Path | None]:
    return (None, path) if path.is_dir() else (path, None)


def _identify(made: ssl.SSLContext, parameters: Mapping[str, str]) -> None:
    """Load the client's certificate, if there is one."""
    certificate = _path("sslcert", "postgresql.crt", parameters)
    if certificate is None or not certificate.exists():
        return
    key = _path("sslkey", "postgresql.key", parameters)
    if key is not None:
        _refuse_missing("sslkey", key)
        _refuse_open_to_others(key)
    # An empty password makes ssl fail where it would ask on the terminal for one.
    password = parameters.get("sslpassword", "")
    _load("sslcert and sslkey", certificate, lambda path: made.load_cert_chain(path, key, password))


def _path(keyword: str, default: str, parameters: Mapping[str, str]) -> Path | None:
    """Return the file that a keyword names, or the one in the user's home; None if there is no home."""
    named = parameters.get(keyword)
    return Path(named) if named else tls_file(default)


def _load(keyword: str, path: Path, load: Callable[[Path], object]) -> None:
    try:
        load(path)
    except OSError as error:  # ssl.SSLError is one; its text names no file, and holds nothing of its contents
        raise ValueError(f"{keyword}: cannot load {str(path)!r}: {error}") from error


def _refuse_missing(keyword: str, path: Path | None) -> None:
    # ssl's own error does not name the file, and an unreachable Unix socket raises the same error.
    if path is None or not path.exists():
        raise ValueError(f"{keyword}: there is no file {str(path)!r}")


def _refuse_open_to_others(key: Path) -> None:
    """Refuse a private key that other users can read, as libpq does: 0600 or less, or 0640 or less if it is root's."""
    if os.name == "nt":
        return
    found = key.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"sslkey: {str(key)!r} is not a plain file")
    forbidden = stat.S_IWGRP | stat.S_IXGRP | stat.S_IRWXO if found.st_uid == 0 else stat.S_IRWXG | stat.S_IRWXO
    if found.st_mode & forbidden:
        raise ValueError(
            f"sslkey: {str(key)!r} has mode {stat.S_IMODE(found.st_mode):04o}, so others have access to it; "
            "allow 0600 at most, or 0640 if it belongs to root"
        )
