"""JPEG pictures one after the other, as IP cameras send them over HTTP: what players recognise by its first bytes."""

from __future__ import annotations

from frameloom.model.packet import Packet

CODECS = ("mjpeg",)
BOUNDARY = "frameloom"


class CannotWrap(ValueError):
    """This stream does not consist of JPEG pictures; the message says so."""


class Multipart:
    """Each picture behind a head that tells its length; every one of them is a beginning. Raises `CannotWrap`."""

    media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"

    def __init__(self, name: str, first: Packet) -> None:
        self.format = first.format
        if first.format.codec not in CODECS:
            raise CannotWrap(
                f"codec {first.format.codec!r} is not sent as MJPEG, allowed: {', '.join(CODECS)}"
            )

    def add(self, packet: Packet) -> bytes:
        """The part of the stream that is this picture."""
        data = bytes(packet.data)
        head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
        return b"".join((head.encode(), data, b"\r\n"))

    def joining(self, part: bytes) -> bytes:
        """`part` for a client that begins here."""
        return part

    def close(self) -> None:
        """Nothing is held."""
