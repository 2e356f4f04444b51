"""Offers of browsers, and our answers to them: only what a viewer of one video needs.

Sources: RFC 8866 (SDP), RFC 9429 (JSEP), RFC 6184 (H.264 in RTP), RFC 8839 (ICE in SDP).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from frameloom.model.errors import CommandError

PLAYOUT_DELAY = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
LONGEST_OFFER = 48_000  # characters; browsers say about 8,000

_BEST_PROFILES = (100, 77, 66)  # whoever decodes High decodes the others
_TOKEN = re.compile(r"[A-Za-z0-9+/]{4,256}")
_FINGERPRINT = re.compile(r"sha-(256|384|512) ([0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){31,63})")


@dataclass(frozen=True)
class Offer:
    """What a viewer said of himself.

    payload_type, fmtp  his number for H.264 in fragments (packetization-mode 1), and how he describes it
    playout_id          his number for the header extension that says how long to wait before showing; None: unknown
    fingerprints        of his certificate: (algorithm, value)
    media               a line for each of his media, kind and mid; `index` is that of the video
    """

    ufrag: str
    fingerprints: tuple[tuple[str, str], ...]
    payload_type: int
    fmtp: str
    playout_id: int | None
    media: tuple[tuple[str, str], ...]
    index: int


@dataclass(frozen=True)
class Ours:
    """What we say of ourselves in an answer; `candidates` are addresses that all have the port `port`."""

    ufrag: str
    password: str
    fingerprint: str
    ssrc: int
    candidates: Sequence[str]
    port: int


@dataclass
class _Section:
    """One `m=` section, or what comes before the first of them."""

    line: str = ""
    attributes: list[tuple[str, str]] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.attributes if each == name]


def read_offer(text: str, profile: int | None = None) -> Offer:
    """Understand an offer. Raises `CommandError`: 'invalid', or 'not-acceptable' without a video in H.264.

    profile  of the camera's H.264 (`profile_idc`); None if it is not known: the best that the viewer can decode
    """
    sections = _sections(text)
    session, media = sections[0], sections[1:]
    index = next((i for i, each in enumerate(media) if each.line.startswith("video ")), None)
    if index is None:
        raise CommandError("not-acceptable", "the offer: it asks for no video, allowed: one video in H.264")
    video = media[index]
    payload_type, fmtp = _h264(video, profile)
    return Offer(
        ufrag=_one(video, session, "ice-ufrag", _TOKEN),
        fingerprints=_fingerprints(video, session),
        payload_type=payload_type,
        fmtp=fmtp,
        playout_id=_extension(video, PLAYOUT_DELAY),
        media=tuple((each.line.split(" ", 1)[0], (each.all("mid") or [""])[0]) for each in media),
        index=index,
    )


def answer(offer: Offer, ours: Ours) -> str:
    """Our answer: we send the video, and refuse all else that was offered."""
    lines = ["v=0", f"o=- {ours.ssrc} 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=ice-lite"]
    mid = offer.media[offer.index][1]
    if mid:
        lines.append(f"a=group:BUNDLE {mid}")
    for index, (kind, other) in enumerate(offer.media):
        lines += _video(offer, ours) if index == offer.index else _refused(kind, other)
    return "\r\n".join([*lines, ""])


def _video(offer: Offer, ours: Ours) -> Iterable[str]:
    number, mid = offer.payload_type, offer.media[offer.index][1]
    yield f"m=video {ours.port} UDP/TLS/RTP/SAVPF {number}"
    yield "c=IN IP4 0.0.0.0"
    if mid:
        yield f"a=mid:{mid}"
    yield from ("a=sendonly", "a=rtcp-mux", "a=rtcp-rsize", "a=setup:passive", "a=msid:frameloom video")
    yield f"a=ice-ufrag:{ours.ufrag}"
    yield f"a=ice-pwd:{ours.password}"
    yield f"a=fingerprint:sha-256 {ours.fingerprint}"
    if offer.playout_id is not None:
        yield f"a=extmap:{offer.playout_id} {PLAYOUT_DELAY}"
    yield f"a=rtpmap:{number} H264/90000"
    yield f"a=fmtp:{number} {offer.fmtp}"
    yield from (f"a=rtcp-fb:{number} {what}" for what in ("nack", "nack pli", "ccm fir"))
    yield f"a=ssrc:{ours.ssrc} cname:frameloom"
    for index, address in enumerate(ours.candidates):
        priority = (126 << 24) + ((65535 - index) << 8) + 255
        yield f"a=candidate:{index + 1} 1 udp {priority} {address} {ours.port} typ host"
    yield "a=end-of-candidates"


def _refused(kind: str, mid: str) -> Iterable[str]:
    profile, form = (
        ("UDP/DTLS/SCTP", "webrtc-datachannel") if kind == "application" else ("UDP/TLS/RTP/SAVPF", "0")
    )
    yield f"m={kind} 0 {profile} {form}"
    yield "c=IN IP4 0.0.0.0"
    yield "a=inactive"
    if mid:
        yield f"a=mid:{mid}"


def _sections(text: str) -> list[_Section]:
    if len(text) > LONGEST_OFFER:
        raise CommandError("too-large", f"the offer: at most {LONGEST_OFFER} characters are allowed")
    if not text.startswith("v=0"):
        raise CommandError("invalid", "the offer: want a session description (SDP) that begins with 'v=0'")
    sections = [_Section()]
    for line in text.splitlines():
        if line.startswith("m="):
            sections.append(_Section(line[2:]))
        elif line.startswith("a="):
            name, _, value = line[2:].partition(":")
            sections[-1].attributes.append((name, value))
    return sections


def _h264(video: _Section, profile: int | None) -> tuple[int, str]:
    """The number and description under which the camera's H.264 is best sent."""
    names = dict(_numbered(video.all("rtpmap")))
    fmtps = dict(_numbered(video.all("fmtp")))
    found = [
        (number, fmtps.get(number, ""))
        for number, name in names.items()
        if name.upper().startswith("H264/90000") and "packetization-mode=1" in fmtps.get(number, "")
    ]
    if not found:
        raise CommandError(
            "not-acceptable",
            "the offer: the viewer takes no H.264 (packetization-mode 1), and nothing else is sent",
        )
    wanted = [profile, *_BEST_PROFILES] if profile is not None else [*_BEST_PROFILES]
    return min(found, key=lambda each: _rank(_profile(each[1]), wanted))


def _rank(profile: int, wanted: Sequence[int | None]) -> int:
    return wanted.index(profile) if profile in wanted else len(wanted)


def _profile(fmtp: str) -> int:
    found = re.search(r"profile-level-id=([0-9A-Fa-f]{2})[0-9A-Fa-f]{4}", fmtp)
    return int(found[1], 16) if found else 66


def _numbered(values: Iterable[str]) -> Iterable[tuple[int, str]]:
    for value in values:
        number, _, rest = value.partition(" ")
        if number.isdecimal() and int(number) < 128:
            yield int(number), rest.strip()


def _extension(video: _Section, uri: str) -> int | None:
    for value in video.all("extmap"):
        number, _, rest = value.partition(" ")
        if rest.strip() == uri and number.isdecimal() and 1 <= int(number) <= 14:
            return int(number)
    return None


def _one(video: _Section, session: _Section, name: str, form: re.Pattern[str]) -> str:
    value = next(iter([*video.all(name), *session.all(name)]), "").strip()
    if not form.fullmatch(value):
        raise CommandError("invalid", f"the offer: {name} is missing, or not as it must be")
    return value


def _fingerprints(video: _Section, session: _Section) -> tuple[tuple[str, str], ...]:
    values = video.all("fingerprint") or session.all("fingerprint")
    found = [match for value in values if (match := _FINGERPRINT.fullmatch(value.strip()))]
    if not found:
        raise CommandError("invalid", "the offer: it has no fingerprint by SHA-256, 384 or 512")
    return tuple((f"sha-{match[1]}", match[2]) for match in found)
