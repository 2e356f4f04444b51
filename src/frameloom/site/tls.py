"""Certificates for the web server: are they any good, for which names, until when; and serving with them.

A certificate that is renewed on the disk is used from the next connection on; those that are open go on with the old.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from frameloom.model.errors import NeedsPerson

log = logging.getLogger(__name__)

_SOON = timedelta(days=14)
_Signature = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a good pair of files says. `names`: the DNS names in it, in lower case, perhaps with '*.' before them."""

    names: tuple[str, ...]
    expires: datetime

    def warning(self, now: datetime) -> str:
        """What a person should know of it; empty if nothing."""
        day = f"{self.expires:%Y-%m-%d}"
        if self.expires <= now:
            return f"server.tls: the certificate has expired on {day}; browsers refuse it"
        return f"server.tls: the certificate expires on {day}" if self.expires - now < _SOON else ""


def check_certificate(cert: Path, key: Path) -> Certificate:
    """Read both files; raises `NeedsPerson` that says which is wrong, and how."""
    _context(cert, key)
    return _described(cert)


class TlsFiles:
    """Serves with a certificate and its key, and looks at each handshake whether the files are new.

    context      for the server
    certificate  what is in use now
    """

    def __init__(self, cert: Path, key: Path) -> None:
        self._cert, self._key = cert, key
        self._seen = _signature(cert, key)
        self.certificate = check_certificate(cert, key)
        self._newest = _context(cert, key)
        self.context = _context(cert, key)
        self.context.sni_callback = self._on_handshake

    def _on_handshake(self, connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        """Called for every handshake, whether it names a server or not."""
        if (signature := _signature(self._cert, self._key)) != self._seen:
            self._seen = signature
            self._read_again()
        connection.context = self._newest

    def _read_again(self) -> None:
        try:
            self.certificate = check_certificate(self._cert, self._key)
            self._newest = _context(self._cert, self._key)
        except NeedsPerson as error:  # as between the writing of one file and of the other
            log.warning("the certificate in use stays: %s", error)
        else:
            log.info("server.tls: a new certificate, good until %s", self.certificate.expires.date())


def _context(cert: Path, key: Path) -> ssl.SSLContext:
    for what, path in (("cert", cert), ("key", key)):
        _check_readable(what, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_refuse_password)
    except ssl.SSLError as error:
        raise NeedsPerson(_in_words(error, cert, key)) from None
    return context


def _refuse_password() -> str:
    """Else OpenSSL would ask at the terminal."""
    raise NeedsPerson("server.tls.key: it is protected by a password, allowed: a key without one")


def _check_readable(what: str, path: Path) -> None:
    begins = {"cert": b"-----BEGIN CERTIFICATE-----", "key": b"PRIVATE KEY-----"}[what]
    try:
        data = path.read_bytes()
    except OSError as error:
        raise NeedsPerson(f"server.tls.{what}: {path}: {error.strerror}") from None
    if begins not in data:
        wanted = {"cert": "a certificate in PEM form", "key": "a private key in PEM form"}[what]
        raise NeedsPerson(f"server.tls.{what}: {path}: allowed: {wanted}")


def _in_words(error: ssl.SSLError, cert: Path, key: Path) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"server.tls.key: {key}: it is not the key of the certificate in {cert}"
    return f"server.tls: {cert}, {key}: they cannot be read ({error.reason or 'not PEM'})"


def _described(cert: Path) -> Certificate:
    from cryptography import x509  # it is large, and most sites have no certificate

    try:
        first = x509.load_pem_x509_certificates(cert.read_bytes())[0]
        names: tuple[str, ...] = ()
        found = [one for one in first.extensions if isinstance(one.value, x509.SubjectAlternativeName)]
        for extension in found:
            names += tuple(name.lower() for name in extension.value.get_values_for_type(x509.DNSName))
    except (ValueError, OSError, x509.DuplicateExtension) as error:
        raise NeedsPerson(f"server.tls.cert: {cert}: it cannot be read ({error})") from None
    return Certificate(names, first.not_valid_after_utc)


def _signature(*paths: Path) -> _Signature:
    found = []
    for path in paths:
        try:
            status = path.stat()
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
        except OSError:
            found.append((0, 0, 0))
    return tuple(found)
