"""https and wss: two lines of configuration, files that are looked at, and certificates that are renewed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from websockets.asyncio.client import connect

from frameloom.accounts.store import Accounts
from frameloom.cli.certificate import make_certificate
from frameloom.model.errors import NeedsPerson
from frameloom.server.host import ServerHost
from frameloom.site.tls import TlsFiles, check_certificate
from frameloom.workers.link import Link
from tests.server.test_host import hosted, port, spec, url

from .people import PASSWORDS, with_people

PATIENCE_S = 60.0
NAMES = ["localhost", "127.0.0.1", "cams.example.org"]


@dataclass(frozen=True)
class Pair:
    """A certificate and its key."""

    cert: Path
    key: Path

    def trusted(self) -> ssl.SSLContext:
        """What a client that trusts this certificate, and no other, uses."""
        return ssl.create_default_context(cafile=str(self.cert))

    def config(self) -> dict[str, str]:
        return {"cert": str(self.cert), "key": str(self.key)}


def pair_in(folder: Path, *, days: int = 30, names: list[str] = NAMES) -> Pair:
    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / "cert.pem", folder / "key.pem")
    make_certificate(pair.cert, pair.key, names, days)
    return pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return pair_in(tmp_path / "first")


def test_the_page_is_served_by_tls(runtime_dir: Path, state_dir: Path, pair: Pair) -> None:
    with hosted(port=0, tls=pair.config()) as host:
        assert url(host) == f"https://127.0.0.1:{port(host)}/"
        with httpx.Client(verify=pair.trusted(), timeout=PATIENCE_S) as http:
            answer = http.get(f"{url(host)}api/me")
            assert answer.json()["role"] == "admin"
            named = http.get(f"{url(host)}api/me", headers={"Host": "cams.example.org"})
            assert named.status_code == 200, "the names in the certificate are ours"
            assert http.get(f"{url(host)}api/me", headers={"Host": "evil.example"}).status_code == 403
        with pytest.raises(httpx.HTTPError), httpx.Client(timeout=PATIENCE_S) as http:
            http.get(f"http://127.0.0.1:{port(host)}/")
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"), httpx.Client() as http:
            http.get(url(host))


def test_the_session_is_bound_to_tls(runtime_dir: Path, state_dir: Path, pair: Pair) -> None:
    with_people(Accounts("test"))
    with (
        hosted(port=0, login=True, tls=pair.config()) as host,
        httpx.Client(verify=pair.trusted(), base_url=url(host), timeout=PATIENCE_S) as http,
    ):
        words = {"user": "viewer-person", "password": PASSWORDS["viewer-person"]}
        origin = {"Origin": url(host).rstrip("/")}
        cookie = http.post("/api/login", json=words, headers=origin).headers["set-cookie"]
        assert cookie.startswith("__Host-frameloom-test=") and "secure" in cookie.lower()
        assert "path=/;" in cookie.lower() and "domain" not in cookie.lower()
        assert http.get("/api/me").json()["user"] == "viewer-person"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_old_protocols_are_refused(runtime_dir: Path, pair: Pair) -> None:
    with hosted(port=0, tls=pair.config()) as host:
        for version, good in ((ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)):
            client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            client.load_verify_locations(pair.cert)
            client.set_ciphers("DEFAULT:@SECLEVEL=0")
            client.minimum_version = ssl.TLSVersion.TLSv1_2 if good else ssl.TLSVersion.MINIMUM_SUPPORTED
            client.maximum_version = version
            assert handshakes(port(host), client) is good


def handshakes(number: int, client: ssl.SSLContext) -> bool:
    with socket.create_connection(("127.0.0.1", number), PATIENCE_S) as plain:
        try:
            with client.wrap_socket(plain, server_hostname="localhost") as connection:
                return connection.version() is not None
        except (ssl.SSLError, ConnectionError):
            return False


def test_who_speaks_no_tls_harms_nobody(
    runtime_dir: Path, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    with hosted(port=0, tls=pair.config()) as host:
        for said in (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01", b"\0" * 5000, b""):
            with socket.create_connection(("127.0.0.1", port(host)), PATIENCE_S) as plain:
                plain.sendall(said)
                plain.shutdown(socket.SHUT_WR)
                with_end = b""
                try:
                    while more := plain.recv(4096):
                        with_end += more
                except ConnectionError:
                    pass
                assert b"HTTP/1.1 200" not in with_end
        with httpx.Client(verify=pair.trusted(), timeout=PATIENCE_S) as http:
            assert http.get(url(host)).status_code in (200, 503)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def test_a_renewed_certificate_is_used_and_nobody_is_let_go(
    runtime_dir: Path, pair: Pair, tmp_path: Path
) -> None:
    newer = pair_in(tmp_path / "second")
    old, new = pair.trusted(), newer.trusted()
    with hosted(port=0, tls=pair.config()) as host:
        number = await asyncio.to_thread(port, host)
        assert (handshakes(number, old), handshakes(number, new)) == (True, False)
        async with connect(f"wss://127.0.0.1:{number}/api/watch", ssl=old) as watching:
            shutil.copy(newer.cert, pair.cert)
            assert (handshakes(number, old), handshakes(number, new)) == (True, False), "its key is not there"
            shutil.copy(newer.key, pair.key)
            assert (handshakes(number, old), handshakes(number, new)) == (False, True)
            pair.cert.unlink()
            assert handshakes(number, new), "what was there stays"
            async with asyncio.timeout(PATIENCE_S):
                await (await watching.ping())


def test_files_that_are_no_good_are_told_apart(pair: Pair, tmp_path: Path) -> None:
    other = pair_in(tmp_path / "other")
    locked, words = tmp_path / "locked.pem", tmp_path / "words.pem"
    words.write_text("hello\n")
    cut = tmp_path / "cut.pem"
    cut.write_text(pair.cert.read_text()[:100])
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    locked.write_bytes(key.private_bytes(*form, serialization.BestAvailableEncryption(b"secret")))
    for cert, private, said in (
        (tmp_path / "none.pem", pair.key, r"server\.tls\.cert: \S+none\.pem: No such file"),
        (pair.cert, tmp_path / "none.pem", r"server\.tls\.key: \S+none\.pem: No such file"),
        (words, pair.key, r"server\.tls\.cert: \S+words\.pem: allowed: a certificate in PEM form"),
        (pair.cert, words, r"server\.tls\.key: \S+words\.pem: allowed: a private key in PEM form"),
        (pair.key, pair.cert, r"server\.tls\.cert: \S+key\.pem: allowed: a certificate"),
        (pair.cert, other.key, r"server\.tls\.key: \S+key\.pem: it is not the key of the certificate in"),
        (pair.cert, locked, r"server\.tls\.key: .*protected by a password"),
        (cut, pair.key, r"server\.tls: .*cannot be read"),
        (tmp_path, pair.key, r"server\.tls\.cert: .*Is a directory"),
    ):
        with pytest.raises(NeedsPerson, match=said):
            check_certificate(cert, private)
    link, theirs = Link.pair()
    with pytest.raises(NeedsPerson, match=r"server\.tls\.cert"):
        ServerHost(spec(tls={"cert": str(words), "key": str(pair.key)}), link)
    link.close()
    theirs.close()


def test_what_a_certificate_says(pair: Pair, tmp_path: Path) -> None:
    found = check_certificate(pair.cert, pair.key)
    assert found.names == ("localhost", "cams.example.org")
    now = datetime.now(UTC)
    assert timedelta(days=29) < found.expires - now < timedelta(days=31)
    assert found.warning(now) == ""
    assert "expires on" in found.warning(now + timedelta(days=20))
    assert "has expired on" in found.warning(now + timedelta(days=31))
    soon = pair_in(tmp_path / "soon", days=1)
    link, theirs = Link.pair()
    host = ServerHost(spec(tls=soon.config()), link)
    assert "server.tls: the certificate expires on" in host.report().detail
    link.close()
    theirs.close()


def test_a_key_is_for_its_owner_and_nothing_is_written_over(pair: Pair, tmp_path: Path) -> None:
    assert pair.key.stat().st_mode & 0o777 == 0o600
    before = pair.cert.read_bytes(), pair.key.read_bytes()
    with pytest.raises(NeedsPerson, match="exists already"):
        make_certificate(pair.cert, pair.key, NAMES, 30)
    with pytest.raises(NeedsPerson, match="exists already"):
        make_certificate(pair.cert, tmp_path / "new.pem", NAMES, 30)
    assert not (tmp_path / "new.pem").exists()
    assert before == (pair.cert.read_bytes(), pair.key.read_bytes())
    assert TlsFiles(pair.cert, pair.key).certificate.names == ("localhost", "cams.example.org")
