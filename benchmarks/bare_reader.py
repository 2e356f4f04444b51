"""The least that a Python program can do with a camera's packets: read them with PyAV, and hand them to the bus.

No reconnecting, no time stamps fit for anything, no reports: what it costs is the floor of what a camera worker can.
`python -m benchmarks.bare_reader URL`; ends at SIGTERM.
"""

from __future__ import annotations

import sys
import time

import av

from frameloom.bus.publisher import PacketPublisher
from frameloom.model.names import packets_of
from frameloom.model.packet import Packet, PacketFormat


def main(url: str) -> None:
    """Read until the end."""
    with (
        av.open(url, options={"rtsp_transport": "tcp"}) as container,
        PacketPublisher(packets_of("bare")) as out,
    ):
        context = container.streams.video[0].codec_context
        format = PacketFormat(context.name, context.width, context.height, context.extradata or b"")
        for packet in container.demux(video=0):
            now_ns = time.monotonic_ns()
            out.publish(Packet(memoryview(packet), format, now_ns, packet.is_keyframe, now_ns, now_ns))


if __name__ == "__main__":
    main(sys.argv[1])
