"""What a person may write about a source, and that nothing of it leaks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import ValidationError

from frameloom.sources import Kind, SourceSettings, open_source
from frameloom.sources.settings import kind_of

SECRET = "s3cr:t/@ü"


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsp://10.0.0.5:554/stream1", Kind.RTSP),
        ("RTSPS://cam/x", Kind.RTSP),
        ("rtsp://bob:pw@[fe80::1]:8554/x", Kind.RTSP),
        ("http://cam/video.mjpg", Kind.HTTP),
        ("https://host/film.mp4", Kind.HTTP),
        ("films/tank.mp4", Kind.FILE),
        ("/data/10:30.mp4", Kind.FILE),
        ("file:///data/a%20b.mp4", Kind.FILE),
        ("/dev/video0", Kind.DEVICE),
        ("device:2", Kind.DEVICE),
        ("/dev/v4l/by-id/usb-046d_HD_Webcam-video-index0", Kind.DEVICE),
        ("synthetic:counter?width=64", Kind.SYNTHETIC),
    ],
)
def test_the_url_says_what_it_is(url: str, kind: Kind) -> None:
    assert SourceSettings(url=url).kind is kind


@pytest.mark.parametrize(
    "url",
    ["ftp://user:hunter2@host/x", "rtsp://", "rtsp://:554/hunter2", "http://host:99999/hunter2", "", "   "],
)
def test_a_bad_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SourceSettings(url=url)
    assert "url" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_unknown_keys_are_refused() -> None:
    with pytest.raises(ValidationError, match="speed"):
        SourceSettings.model_validate({"url": "a.mp4", "speed": 2})


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"url": "a.mp4", "transport": "udp"}, "transport: allowed only for rtsp, this is file"),
        ({"url": "rtsp://c/x", "loop": True}, "loop: allowed only for file and synthetic, this is rtsp"),
        ({"url": "rtsp://c/x", "width": 640, "height": 480}, "allowed only for device"),
        ({"url": "/dev/video0", "width": 640}, "both or neither"),
        ({"url": "rtsp://c/x", "pace": "unpaced"}, "pace: read 'unpaced', allowed here: live"),
        ({"url": "a.mp4", "pace": "fast"}, "pace"),
        ({"url": "a.mp4", "username": "bob"}, "username: allowed only for rtsp and http"),
        ({"url": "rtsp://c/x", "silence_s": 0}, "silence_s"),
        ({"url": "/dev/video0", "fps": -1}, "fps"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_is_allowed(
    settings: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        SourceSettings.model_validate(settings)
    assert complaint in str(caught.value)


def test_defaults_may_be_written_out_for_every_kind() -> None:
    settings = SourceSettings.model_validate(
        {"url": "a.mp4", "transport": "tcp", "width": None, "format": None}
    )
    assert settings.transport == "tcp"


def test_credentials_are_merged_for_opening_only() -> None:
    settings = SourceSettings(url="rtsp://old:older@cam:554/live?x=1", username="bob", password=SECRET)
    assert settings.url == "rtsp://old:older@cam:554/live?x=1"
    assert settings.address == "rtsp://bob:s3cr%3At%2F%40%C3%BC@cam:554/live?x=1"


def test_a_password_alone_goes_with_the_user_in_the_url() -> None:
    assert SourceSettings(url="http://bob@cam/x", password="a b").address == "http://bob:a%20b@cam/x"


def test_nothing_secret_in_repr() -> None:
    settings = SourceSettings(
        url="rtsp://bob:hunter2@cam/tok3n", password=SECRET, options={"headers": SECRET}
    )
    for text in (repr(settings), str(settings), f"{settings}"):
        assert "kind='rtsp'" in text
        for secret in ("hunter2", "tok3n", SECRET, "bob"):
            assert secret not in text


def test_secrets_cover_every_part_of_the_url() -> None:
    secrets = SourceSettings(url="rtsp://bob:hunter2@cam/tok3n?key=k3y", password=SECRET).secrets
    assert {SECRET, "/tok3n", "/tok3n?key=k3y", "key=k3y"} <= set(secrets)
    assert [len(secret) for secret in secrets] == sorted((len(secret) for secret in secrets), reverse=True)


def test_it_survives_the_way_to_a_worker() -> None:
    settings = SourceSettings(url="rtsp://bob:hunter2@cam/x", silence_s=3, password=SECRET)
    assert SourceSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_paths_and_devices() -> None:
    assert SourceSettings(url="file:///data/a%20b.mp4").path == "/data/a b.mp4"
    assert SourceSettings(url="device:3").device == "/dev/video3"
    assert SourceSettings(url="/dev/video1").address == "/dev/video1"


def test_kind_of_is_for_texts_that_are_no_settings_yet() -> None:
    with pytest.raises(ValueError, match="allowed: rtsp://"):
        kind_of("gopher://x")


def test_describing_sources_loads_no_codec() -> None:
    code = (
        "import frameloom.sources, frameloom.sources.settings, sys; print({'av', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_open_source_chooses_by_kind() -> None:
    from frameloom.model.clock import SystemClock
    from frameloom.sources.av_source import AvSource
    from frameloom.sources.synthetic import SyntheticSource

    clock = SystemClock()
    assert isinstance(open_source("yard", SourceSettings(url="a.mp4"), clock), AvSource)
    assert isinstance(open_source("yard", SourceSettings(url="synthetic:counter"), clock), SyntheticSource)
