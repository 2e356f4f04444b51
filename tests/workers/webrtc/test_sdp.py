"""Offers as Chromium makes them, and what is answered."""

from __future__ import annotations

import pytest
from aiortc.sdp import SessionDescription

from frameloom.model.errors import CommandError
from frameloom.workers.webrtc.sdp import Offer, Ours, answer, read_offer

FINGERPRINT = ":".join(["AB"] * 32)
CODECS = {
    96: ("VP8/90000", ""),
    102: ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f"),
    104: ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=64001f"),
    108: ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    116: ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f"),
    117: ("rtx/90000", "apt=116"),
    41: ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f"),
}
SAFARI = {98: ("H264/90000", "packetization-mode=1;profile-level-id=640c1f"), **CODECS}


def offer(codecs: dict[int, tuple[str, str]] = CODECS, before: str = "", more: str = "") -> str:
    lines = "".join(f"a=rtpmap:{n} {name}\na=fmtp:{n} {fmtp}\n" for n, (name, fmtp) in codecs.items())
    text = (
        f"v=0\no=- 1 2 IN IP4 127.0.0.1\ns=-\nt=0 0\na=fingerprint:sha-256 {FINGERPRINT}\n{before}"
        f"m=video 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, codecs))}\nc=IN IP4 0.0.0.0\na=ice-ufrag:aBcD\n"
        f"a=ice-pwd:{'p' * 24}\na=setup:actpass\na=mid:v\n"
        "a=extmap:5 http://www.webrtc.org/experiments/rtp-hdrext/playout-delay\na=recvonly\na=rtcp-mux\n"
        f"{lines}{more}"
    )
    return text.replace("\n", "\r\n")


@pytest.mark.parametrize(
    ("codecs", "profile", "number"),
    [
        (CODECS, 66, 102),
        (CODECS, 77, 116),
        (CODECS, 100, 116),  # High is not offered: whoever decodes Main does so in practice
        (CODECS, None, 116),
        (SAFARI, 100, 98),
        (SAFARI, None, 98),
        (SAFARI, 77, 116),
        ({41: CODECS[41]}, 100, 41),
    ],
)
def test_the_number_for_the_cameras_profile(
    codecs: dict[int, tuple[str, str]], profile: int | None, number: int
) -> None:
    found = read_offer(offer(codecs), profile)
    assert (found.payload_type, found.fmtp) == (number, codecs[number][1])


def test_what_is_read() -> None:
    found = read_offer(offer(), 77)
    assert (found.ufrag, found.fingerprints, found.playout_id) == ("aBcD", (("sha-256", FINGERPRINT),), 5)
    assert (found.media, found.index) == ((("video", "v"),), 0)


@pytest.mark.parametrize("codecs", [{}, {96: CODECS[96]}, {104: CODECS[104]}, {200: CODECS[102]}])
def test_without_h264_in_fragments_there_is_no_answer(codecs: dict[int, tuple[str, str]]) -> None:
    with pytest.raises(CommandError, match=r"takes no H\.264") as refused:
        read_offer(offer(codecs))
    assert refused.value.code == "not-acceptable"


def answered(found: Offer) -> SessionDescription:
    ours = Ours("ours", "x" * 24, FINGERPRINT, 7, ["192.0.2.1", "127.0.0.1"], 5000)
    return SessionDescription.parse(answer(found, ours))


def test_the_answer() -> None:
    (video,) = answered(read_offer(offer(), 77)).media
    assert (video.direction, video.rtcp_mux, video.rtp.muxId) == ("sendonly", True, "v")
    (codec,) = video.rtp.codecs
    assert (codec.mimeType, codec.payloadType) == ("video/H264", 116)
    assert codec.parameters["profile-level-id"] == "4d001f"
    assert [(each.type, each.parameter) for each in codec.rtcpFeedback] == [
        ("nack", None),
        ("nack", "pli"),
        ("ccm", "fir"),
    ]
    assert [(each.ip, each.port, each.type) for each in video.ice_candidates] == [
        ("192.0.2.1", 5000, "host"),
        ("127.0.0.1", 5000, "host"),
    ]
    assert video.ice_candidates[0].priority > video.ice_candidates[1].priority
    assert video.ice.iceLite and video.ice_candidates_complete
    assert (video.dtls.role, video.dtls.fingerprints[0].value) == ("server", FINGERPRINT)
    assert [(each.id, each.uri.rsplit("/", 1)[1]) for each in video.rtp.headerExtensions] == [
        (5, "playout-delay")
    ]
    assert [each.ssrc for each in video.ssrc] == [7]


def test_all_else_is_refused_in_its_place() -> None:
    audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\na=mid:a\na=rtpmap:111 opus/48000/2\n"
    data = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:d\n"
    found = read_offer(offer(before=audio, more=data))
    assert (found.index, [kind for kind, _ in found.media]) == (1, ["audio", "video", "application"])
    text = answer(found, Ours("ours", "x" * 24, FINGERPRINT, 7, [], 5000))
    places = [line.split(" ")[:2] for line in text.split("\r\n") if line.startswith("m=")]
    assert places == [["m=audio", "0"], ["m=video", "5000"], ["m=application", "0"]]
    assert [line for line in text.split("\r\n") if "BUNDLE" in line] == ["a=group:BUNDLE v"]
