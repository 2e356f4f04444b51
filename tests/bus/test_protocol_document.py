"""`docs/bus-protocol.md` says what `frameloom.bus.protocol` does: its tables are read and compared."""

from __future__ import annotations

import json
import os
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from frameloom.bus import protocol, serving
from frameloom.bus.protocol import Hello, Kind, Policy, Type
from frameloom.bus.publisher import FramePublisher
from frameloom.model.frame import PictureFormat, PixelFormat
from tests.bus.parts import H264, joined, publish, socket_of
from tests.bus.raw import RawReader

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "bus-protocol.md").read_text()
CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q"}


def section(title: str) -> str:
    """The text under a heading, down to the next one."""
    found = re.search(rf"^#+ {title}\n(.*?)(?=^#|\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def tables(text: str) -> list[list[list[str]]]:
    """The rows, without headings, of every table in a text."""
    found = re.findall(r"^\|.*\|\n\|[-|]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE)
    return [
        [[cell.strip(" `") for cell in row.strip("|").split("|")] for row in table.splitlines()]
        for table in found
    ]


class Layout:
    """A table of fields as a format of `struct`; a last row of variable length is what follows."""

    def __init__(self, rows: list[list[str]]) -> None:
        self.names: list[str] = []
        self.format = "<"
        for offset, kind, name, _ in rows:
            assert int(offset) == self.size, f"{name}: offset"
            if kind in CODES or kind.endswith("bytes"):
                self.names.append(name)
                self.format += CODES.get(kind) or f"{int(kind.split()[0])}s"

    @property
    def size(self) -> int:
        return struct.calcsize(self.format)

    def read(self, message: bytes) -> dict[str, Any]:
        return dict(zip(self.names, struct.unpack_from(self.format, message), strict=True))


def layout(title: str, number: int = 0) -> Layout:
    return Layout(tables(section(title))[number])


def test_types_are_those_of_the_table() -> None:
    rows = tables(section("Messages"))[0]
    names = {int(number): re.findall(r"\[(\w+)\]", name)[0] for number, name, _ in rows}
    assert names == {kind.value: kind.name for kind in Type}
    for number, name in names.items():
        assert tables(section(name))[0][0][3] == str(number)
    to_publisher = {names[int(number)] for number, _, direction in rows if direction.startswith("reader")}
    assert to_publisher == {"HELLO", "WANT", "BYE"}


def test_hello() -> None:
    message = protocol.pack_hello(Hello(Policy.EVERY, 7, "somebody", 99))
    found = layout("HELLO")
    assert found.read(message) == {"type": 1, "magic": b"FLBS", "version": protocol.VERSION, "kind": 0}
    body = json.loads(message[found.size :])
    assert list(body) == [row[0] for row in tables(section("HELLO"))[1]]
    assert body == {"policy": "every", "leases": 7, "client": "somebody", "pid": 99}


def test_want() -> None:
    message = protocol.pack_want(3, [(1, 2), (3, 4)])
    found = layout("WANT")
    assert found.read(message) == {"type": 2, "padding": bytes(3), "credits": 3, "returned": 2}
    assert message[found.size :] == struct.pack("<IIII", 1, 2, 3, 4)


def test_bye_end_and_error() -> None:
    assert layout("BYE").read(protocol.pack_bye()) == {"type": 3}
    for title, message, body in [
        ("END", protocol.pack_end("over"), {"reason": "over"}),
        ("ERROR", protocol.pack_error("no"), {"message": "no"}),
    ]:
        found = layout(title)
        assert found.read(message) == {"type": Type[title]}
        assert json.loads(message[found.size :]) == body
        assert f"`{next(iter(body))}`" in section(title)


def test_epoch_of_frames() -> None:
    picture = PictureFormat(PixelFormat.NV12, 62, 40)
    message = protocol.pack_epoch(Kind.FRAMES, 5, 12288, 4096, picture.to_json(), picture)
    found = layout("EPOCH")
    fields = found.read(message)
    table = fields.pop("plane_table")
    pixels = {name: int(number) for number, name in tables(section("EPOCH"))[2]}
    assert fields == {
        "type": 17,
        "kind": 1,
        "pixel": pixels["nv12"],
        "planes": 2,
        "epoch": 5,
        "memory_bytes": 12288,
        "block_bytes": 4096,
        "width": 62,
        "height": 40,
    }
    entry = layout("EPOCH", 1)
    planes = [entry.read(table[number * entry.size :]) for number in range(4)]
    for plane, said in zip(picture.planes, planes, strict=False):
        assert said == {name: getattr(plane, name) for name in said}
    assert planes[2:] == [{"offset": 0, "width": 0, "height": 0, "channels": 0}] * 2
    body = json.loads(message[found.size :])
    assert all(f"`{name}`" in section("EPOCH") for name in body)


def test_epoch_of_packets() -> None:
    message = protocol.pack_epoch(Kind.PACKETS, 1, 4096, 0, H264.to_json(), None)
    found = layout("EPOCH")
    assert found.read(message)["pixel"] == found.read(message)["block_bytes"] == 0
    assert all(f"`{name}`" in section("EPOCH") for name in json.loads(message[found.size :]))


def test_every_pixel_format_has_its_number() -> None:
    rows = tables(section("EPOCH"))[2]
    assert {name for _, name in rows} == set(PixelFormat)
    for number, name in rows:
        picture = PictureFormat(PixelFormat(name), 4, 4)
        message = protocol.pack_epoch(Kind.FRAMES, 1, 4096, 4096, {}, picture)
        assert layout("EPOCH").read(message)["pixel"] == int(number)


def test_item_and_welcome_as_a_publisher_sends_them(runtime_dir: Path) -> None:
    with FramePublisher("hall") as publisher, RawReader(socket_of(runtime_dir)) as raw:
        raw.hello().want(1)
        joined(publisher, 1)
        publish(publisher, 12, metadata={"scene": "x"})
        _, welcome, _ = raw.receive()
        _, _, fds = raw.receive()
        _, item, _ = raw.receive()
        for fd in fds:
            os.close(fd)
    found = layout("WELCOME")
    assert found.read(welcome) == {"type": 16, "magic": b"FLBS", "version": 1, "kind": 1}
    assert list(json.loads(welcome[found.size :])) == [row[0] for row in tables(section("WELCOME"))[1]]
    fields = layout("ITEM").read(item)
    times = {name: fields.pop(name) for name in list(fields) if name.endswith("_ns")}
    assert (times["pts_ns"], times["captured_at_ns"], times["dts_ns"], times["duration_ns"]) == (
        12,
        13,
        12,
        0,
    )
    assert 0 < times["captured_ns"] <= times["published_ns"]
    assert fields == {
        "type": 18,
        "flags": 0,
        "padding": 0,
        "epoch": 1,
        "block": 0,
        "meta_bytes": 13,
        "offset": 0,
        "length": 3072,
        "seq": 1,
    }
    assert json.loads(item[layout("ITEM").size :]) == {"scene": "x"}


def test_kinds_and_flags_are_told() -> None:
    told = ", ".join(f"{kind.value} {kind.name.lower()}" for kind in Kind)
    assert told in section("WELCOME")
    flags = tables(section("ITEM"))[0][1][3]
    assert flags == f"{protocol.KEY}: a decoder can start here; {protocol.INLINE}: the payload is inline"


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("unused credits of a reader", protocol.MOST_CREDITS),
        ("leases of a reader", protocol.MOST_LEASES),
        ("inline payload, and metadata, in bytes", protocol.INLINE_BYTES),
        ("longest message in bytes", protocol.LONGEST_MESSAGE),
        ("readers of a stream", serving._MOST_READERS),
        ("seconds until HELLO must have come", serving._GREETING_S),
    ],
)
def test_limits(limit: str, value: float) -> None:
    assert dict(tables(section("Errors"))[0])[limit] == f"{value:g}"  # type: ignore[arg-type]


def test_the_version_is_told() -> None:
    assert f"This is version {protocol.VERSION}." in TEXT
