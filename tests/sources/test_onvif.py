"""ONVIF cameras: those that behave, those that have another idea of time or of logins, and those that mean ill."""

from __future__ import annotations

import base64
import hashlib
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from frameloom.model.errors import SourceLost, SourceMisconfigured
from frameloom.sources import soap
from frameloom.sources.onvif import Device, at_host_of, service_url
from frameloom.sources.onvif_discovery import Camera, cameras_in, discover
from frameloom.sources.soap import Credentials, NotXml, digest_authorization, parse
from frameloom.testing.onvif import OnvifCamera, Profile

MAIN = Profile("Main stream", "rtsp://admin:inside@192.0.2.7:554/ch1?x=1&y=2", "H264", 2560, 1440, 25)
SUB = Profile("sub", "rtsp://192.0.2.7/ch2", "H265", 640, 360, 10)


@pytest.mark.parametrize("auth", ["token", "digest", "none"])
@pytest.mark.parametrize("off", [timedelta(), timedelta(hours=-9), timedelta(days=-7000)])
def test_a_camera_tells_its_streams(auth: Any, off: timedelta) -> None:
    """Whichever way one logs in, and whatever time it thinks it is."""
    with OnvifCamera([MAIN, SUB], auth=auth, clock_off=off) as camera:
        found = Device(camera.address, "admin", "secret").streams()
    assert [one.to_json() for one in found] == [
        {
            "name": "Main stream",
            "url": "rtsp://127.0.0.1:554/ch1?x=1&y=2",
            "codec": "h264",
            "width": 2560,
            "height": 1440,
            "fps": 25.0,
        },
        {
            "name": "sub",
            "url": "rtsp://127.0.0.1/ch2",
            "codec": "hevc",
            "width": 640,
            "height": 360,
            "fps": 10.0,
        },
    ]


def test_what_the_camera_is_asked() -> None:
    with OnvifCamera([MAIN, SUB]) as camera:
        Device(camera.address, "admin", "secret").streams()
        assert camera.asked == [
            "GetSystemDateAndTime",
            "GetCapabilities",
            "GetProfiles",
            "GetStreamUri",
            "GetStreamUri",
        ]
        assert len(set(camera.tokens)) == 4, "each login is a new one"


@pytest.mark.parametrize("auth", ["token", "digest"])
@pytest.mark.parametrize(
    ("user", "password"), [("admin", "no"), ("root", "secret"), ("", ""), ("ädmin", "”")]
)
def test_a_wrong_login_is_said(auth: Any, user: str, password: str) -> None:
    with OnvifCamera([MAIN], auth=auth) as camera, pytest.raises(SourceMisconfigured) as caught:
        Device(camera.address, user, password).streams()
    assert str(caught.value) == "it refused user name or password: correct them"


@pytest.mark.parametrize("auth", ["token", "digest"])
def test_names_and_passwords_may_have_any_letter(auth: Any) -> None:
    user, password = "<ädmin> \"&'", "pässwörd ]]> & €"
    with OnvifCamera([MAIN], auth=auth, user=user, password=password) as camera:
        assert len(Device(camera.address, user, password).streams()) == 1


def test_a_camera_without_the_right_time_of_ours_would_refuse() -> None:
    """The test's camera does look at the clock: without asking for its time, nobody gets in."""
    with OnvifCamera([MAIN], clock_off=timedelta(hours=3)) as camera:
        device = Device(camera.address, "admin", "secret")
        device._take_time = lambda _: None  # type: ignore[method-assign]
        with pytest.raises(SourceMisconfigured, match="refused user name"):
            device.streams()


@pytest.mark.parametrize("fault", ["garbage", "entities", "endless", "html"])
def test_what_is_no_onvif_is_said(fault: Any) -> None:
    with OnvifCamera([MAIN], fault=fault) as camera, pytest.raises(SourceMisconfigured) as caught:
        Device(camera.address, "admin", "secret").streams()
    assert str(caught.value) == "what answers does not speak ONVIF: is the port right?"


def test_a_camera_that_hangs_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soap, "TIMEOUT_S", 0.3)
    with OnvifCamera([MAIN], fault="hang") as camera, pytest.raises(SourceLost, match=r"no answer for 0.3 s"):
        Device(camera.address, "admin", "secret").streams()


def test_a_camera_that_is_slow_at_everything_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    with OnvifCamera([MAIN]) as camera:
        device = Device(camera.address, "admin", "secret")
        device._deadline_s = time.monotonic() - 1
        with pytest.raises(SourceLost, match="takes too long"):
            device.streams()


def test_nobody_there_is_said() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
        with pytest.raises(SourceLost, match="refused: is it on"):
            Device(address, "admin", "secret").streams()


def test_a_camera_without_streams_is_said() -> None:
    bad = [Profile("file", "file:///etc/passwd"), Profile("none", "")]
    with OnvifCamera(bad) as camera, pytest.raises(SourceMisconfigured, match="offers no stream"):
        Device(camera.address, "admin", "secret").streams()


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.0.0.7", "http://10.0.0.7/onvif/device_service"),
        ("10.0.0.7:8080", "http://10.0.0.7:8080/onvif/device_service"),
        ("http://cam.local/", "http://cam.local/onvif/device_service"),
        ("https://u:p@cam.local/other?x=1", "https://cam.local/other?x=1"),
        ("http://[fe80::1]:80/x", "http://[fe80::1]:80/x"),
    ],
)
def test_addresses(address: str, url: str) -> None:
    assert service_url(address) == url


@pytest.mark.parametrize(
    "address", ["", "ftp://h/", "file:///etc/passwd", "http://", "h:port", "h h", "h\r\nX: y"]
)
def test_what_is_no_address_is_said(address: str) -> None:
    with pytest.raises(SourceMisconfigured, match="address: allowed: a host"):
        service_url(address)


def test_only_the_host_that_was_asked_is_asked_further() -> None:
    assert at_host_of("http://10.0.0.7:8080/x", "http://evil.example/media") == "http://10.0.0.7/media"
    assert at_host_of("http://[fe80::1]/x", "rtsp://a:b@10.0.0.1:554/s") == "rtsp://[fe80::1]:554/s"
    with pytest.raises(SourceMisconfigured):
        at_host_of("http://10.0.0.7/", "gopher://10.0.0.7/")


# -- XML and logins --

LAUGHS = "<!DOCTYPE x [" + "".join(
    f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)
)  # each ten times the one before


@pytest.mark.parametrize(
    "data",
    [
        (LAUGHS + '<!ENTITY a "ha">]><x>&j;</x>').encode(),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>',
        b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1/">]><x>&a;</x>',
        b"<x>&a;</x>",
        b"<x>" * 100,
        b"<x>" + b"<y/>" * 20_001 + b"</x>",
        b"<x></y>",
        b"",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><x/>',
    ],
)
def test_hostile_xml_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(NotXml):
        parse(data)


def test_xml_is_read_whatever_its_prefixes_are() -> None:
    root = parse(b'<a:one xmlns:a="urn:a" xmlns="urn:b"><two a:token="t">x</two></a:one>')
    assert (root.tag, root[0].tag, root[0].get("token"), root[0].text) == ("one", "two", "t", "x")


def test_the_token_is_that_of_the_specification() -> None:
    """Base64(SHA1(nonce + created + password)), created by the clock of the other side."""
    now = datetime(2010, 9, 16, 7, 50, 45, tzinfo=UTC)
    who = Credentials("user", "userpassword", timedelta(hours=1))
    token = parse(who.token(b"\0nonce\xff", now).replace("s:", "").encode())
    said = {one.tag: one.text for one in token.iter()}
    assert said["Username"] == "user"
    assert said["Nonce"] == base64.b64encode(b"\0nonce\xff").decode()
    assert said["Created"] == "2010-09-16T08:50:45.000Z"
    digest = hashlib.sha1(b"\0nonce\xff" + b"2010-09-16T08:50:45.000Z" + b"userpassword").digest()
    assert said["Password"] == base64.b64encode(digest).decode()
    assert "userpassword" not in repr(who)


def test_digest_is_that_of_the_specification() -> None:
    """RFC 7616, 3.9.1."""
    challenge = {
        "realm": "http-auth@example.org",
        "qop": "auth, auth-int",
        "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
    }
    cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"
    who = Credentials("Mufasa", "Circle of Life")

    def response(algorithm: str) -> str:
        said = digest_authorization(
            {**challenge, "algorithm": algorithm}, who, "GET", "/dir/index.html", 1, cnonce
        )
        return said.split('response="')[1].split('"')[0]

    assert response("MD5") == "8ca523f5e9506fed4657c9700eebdbec"
    assert response("SHA-256") == "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"


# -- discovery --


def test_cameras_answer_when_they_are_asked_alone_and_all_together() -> None:
    with OnvifCamera(name="Gate 1", multicast=True) as one, OnvifCamera(name="Door") as other:
        wanted = Camera(f"http://{one.address}/onvif/device_service", "Gate 1")
        second = Camera(f"http://{other.address}/onvif/device_service", "Door")
        assert discover(0.6, [one.discovery, other.discovery]) == sorted(
            [wanted, second], key=lambda camera: camera.address
        )
        everybody = discover(0.6)
        assert wanted in everybody, "by multicast, on every interface"
        assert second not in everybody


def test_who_does_not_answer_well_is_left_out() -> None:
    with (
        OnvifCamera(fault="entities") as hostile,
        OnvifCamera() as good,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as nobody,
    ):
        nobody.bind(("127.0.0.1", 0))
        found = discover(0.3, [hostile.discovery, nobody.getsockname(), ("127.0.0.1", 9), good.discovery])
        assert [camera.address for camera in found] == [f"http://{good.address}/onvif/device_service"]


QUESTION = "urn:uuid:1234"


def answered(change: Callable[[str], str] = str, host: str = "127.0.0.1") -> list[Camera]:
    with OnvifCamera(xaddr="10.0.0.9", name="x") as camera:
        data = change(camera.probe_match(QUESTION).decode().replace(str(camera._port), "80"))
    return cameras_in(data.encode(), host, QUESTION)


def test_an_answer_names_the_one_who_gave_it() -> None:
    assert answered(host="10.0.0.8") == [Camera("http://10.0.0.8:80/onvif/device_service", "x")]
    two = "http://[fe80::1]/a http://10.0.0.8:81/b"
    assert answered(
        lambda text: text.replace("http://10.0.0.9:80/onvif/device_service", two), "10.0.0.8"
    ) == [Camera("http://10.0.0.8:81/b", "x")]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (QUESTION, "urn:uuid:4321"),
        ("NetworkVideoTransmitter", "Printer"),
        ("http://10.0.0.9", "gopher://10.0.0.9"),
        ("<d:XAddrs>", "<d:Nothing>"),
    ],
)
def test_what_is_no_answer_to_us_is_left_out(old: str, new: str) -> None:
    assert answered(lambda text: text.replace(old, new)) == []


def test_names_are_short_and_printable() -> None:
    (camera,) = answered(lambda text: text.replace("/name/x", "/name/a%0a%1b[31m" + "b" * 200))
    assert camera.name == "a[31m" + "b" * 95
