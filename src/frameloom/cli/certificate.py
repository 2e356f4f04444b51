"""`frameloom certificate`: a self-signed certificate for the page; and whether that of a site is any good."""

from __future__ import annotations

import ipaddress
import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from frameloom.model.errors import NeedsPerson
from frameloom.site.model import Site
from frameloom.site.problems import InvalidSite
from frameloom.site.tls import Certificate, check_certificate

from .output import out

_YEAR_DAYS = 365


def add_to(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(certificate)


def certificate(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="DNS names and addresses; this machine's, if left out."),
    ] = None,
    cert: Annotated[Path, typer.Option("--cert", help="File for the certificate.")] = Path("cert.pem"),
    key: Annotated[Path, typer.Option("--key", help="File for its key.")] = Path("key.pem"),
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long it is good.")] = _YEAR_DAYS,
) -> None:
    """Make a self-signed certificate for the page; browsers ask once whether to trust it."""
    chosen = names or own_names()
    make_certificate(cert, key, chosen, days)
    out.print(f"{cert}, {key}: written, for {', '.join(chosen)}; in site.yaml:", markup=False)
    out.print(f"server:\n  tls: {{cert: {cert}, key: {key}}}", markup=False)


def own_names() -> list[str]:
    """By which this machine is usually called."""
    own = socket.gethostname().lower()
    return list(dict.fromkeys([own, f"{own}.local", "localhost", "127.0.0.1", "::1"]))


def check_tls(site: Site) -> Certificate | None:
    """The certificate of a site, if it names one; raises `InvalidSite`, with the line, if it is no good."""
    tls = site.server.tls
    if not (tls.cert and tls.key):
        return None
    try:
        return check_certificate(site.base_dir / tls.cert, site.base_dir / tls.key)
    except NeedsPerson as error:
        where, _, words = str(error).partition(": ")
        place = tuple(where.split("."))
        raise InvalidSite(site.file, [site.document.problem(place, words)]) from None


def make_certificate(cert: Path, key: Path, names: list[str], days: int) -> None:
    """Write a self-signed certificate for `names` (DNS names and addresses) and its key; neither may be there yet."""
    key_pem, cert_pem = _self_signed(names, timedelta(days=days))
    _write_new(key, key_pem, 0o600)
    try:
        _write_new(cert, cert_pem, 0o644)
    except NeedsPerson:
        key.unlink()
        raise


def _self_signed(names: list[str], life: timedelta) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509 import oid

    key = ec.generate_private_key(ec.SECP256R1())
    own = x509.Name([x509.NameAttribute(oid.NameOID.COMMON_NAME, names[0][:64])])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(own)
        .issuer_name(own)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + life)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([oid.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    return (
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain),
        made.public_bytes(pem),
    )


def _general_name(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        raise NeedsPerson(f"{path}: it exists already, and is not touched") from None
    except OSError as error:
        raise NeedsPerson(f"{path}: cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
