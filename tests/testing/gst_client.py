"""Run by the system's Python: reads a camera through GStreamer and writes gray pictures to standard output.

Arguments: url, tcp or udp, the elements that unpack and decode, how many pictures.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402


def main() -> None:
    url, transport, decoder, count = sys.argv[1:]
    Gst.init(None)
    source = f"rtspsrc location={url} protocols={transport} latency=50"
    sink = "videoconvert ! video/x-raw,format=GRAY8 ! appsink name=sink sync=false"
    pipeline = Gst.parse_launch(f"{source} ! {decoder} ! {sink}")
    pipeline.set_state(Gst.State.PLAYING)
    for _ in range(int(count)):
        sample = pipeline.get_by_name("sink").emit("try-pull-sample", 20 * Gst.SECOND)
        if sample is None:
            sys.exit("no picture for 20 s")
        buffer = sample.get_buffer()
        sys.stdout.buffer.write(buffer.extract_dup(0, buffer.get_size()))
    pipeline.set_state(Gst.State.NULL)


if __name__ == "__main__":
    main()
