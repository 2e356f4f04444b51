"""Every failure that the RTSP server can play is seen by a client that is not ours, and ends when it is told to."""

import contextlib
import itertools
import queue
import threading

import av
import pytest

from frameloom.testing.rtsp_server import RtspServer
from tests.testing.pictures import FRAMES, RATE, counter_of, counters, steps
from tests.testing.rtsp_client import Rtp, RtspClient, SenderReport

TCP = {"rtsp_transport": "tcp"}
UDP = {"rtsp_transport": "udp"}


@pytest.fixture
def server(films):
    with RtspServer({"a": films["h264"], "b": films["hevc"]}, seed=2) as server:
        yield server


class Watcher:
    """Reads a camera in a thread of its own; `frames` are (counter, width, codec, time), `ended` how it ended."""

    def __init__(self, url, options=TCP, timeout_s=30.0):
        self.frames = queue.SimpleQueue()
        self.ended = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(url, options, timeout_s))
        self._thread.start()

    def _watch(self, url, options, timeout_s):
        try:
            with av.open(url, options=options, timeout=(30.0, timeout_s)) as camera:
                for packet in camera.demux(video=0):
                    if self._stop.is_set():
                        return
                    with contextlib.suppress(av.error.InvalidDataError):
                        for frame in packet.decode():
                            codec = camera.streams.video[0].codec_context.name
                            self.frames.put((counter_of(frame), frame.width, codec, frame.time))
            self.ended = "end of stream"
        except av.FFmpegError as error:
            self.ended = error
        finally:
            self.frames.put(None)

    def take(self, count):
        """The counters of the next frames."""
        return [frame[0] for frame in itertools.islice(iter(self.frames.get, None), count)]

    def until(self, wanted):
        """The first frame from here on that is as wanted."""
        found = next(filter(wanted, iter(self.frames.get, None)), None)
        assert found is not None, f"the camera ended before: {self.ended!r}"
        return found

    def join(self):
        """Wait for the end of the connection, and say how it ended."""
        self._thread.join(60)
        assert self.ended is not None, "the connection goes on and on"
        return self.ended

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


def test_a_stall_is_silence_on_an_open_connection(server):
    with Watcher(server.url("a"), timeout_s=0.5) as watcher:
        watcher.take(5)
        server["a"].stall()
        assert isinstance(watcher.join(), TimeoutError | av.error.ExitError)


def test_after_a_stall_pictures_go_on_with_a_key_frame(server):
    with RtspClient(server.url("a")) as client:
        client.play()
        server["a"].stall()
        stalled = client.ask("GET_PARAMETER")  # still answered
        assert stalled.status == 200
        before = [Rtp.parse(packet) for channel, packet in client._kept if channel == 0]
        client._kept.clear()
        server["a"].resume()
        after = next(Rtp.parse(packet) for channel, packet in client.packets() if channel == 0)
    assert after.payload[0] & 31 == 7
    assert 0 < (after.sequence - before[-1].sequence) & 0xFFFF < 1000


def test_a_stall_concerns_one_mount_only(server):
    server["a"].stall()
    assert steps(counters(server.url("b"), 5), FRAMES) == {1}


def test_a_stalled_mount_gives_nothing_to_who_joins_and_all_when_it_resumes(server):
    server["a"].stall()
    with Watcher(server.url("a")) as watcher:
        server["a"].wait_players(bool)
        assert watcher.frames.empty()
        server["a"].resume()
        assert steps(watcher.take(20), FRAMES) == {1}


def test_a_drop_ends_connections_and_a_new_one_is_welcome(server):
    with Watcher(server.url("a")) as watcher:
        watcher.take(5)
        server["a"].drop()
        assert watcher.join() is not None
    assert steps(counters(server.url("a"), 5), FRAMES) == {1}


@pytest.mark.parametrize("options", [TCP, UDP])
def test_a_refusing_mount_closes_new_connections_and_keeps_old_ones(server, options):
    with Watcher(server.url("a"), options) as watcher:
        watcher.take(3)
        server["a"].refuse()
        with pytest.raises(av.FFmpegError):
            counters(server.url("a"), 1)
        watcher.take(10)
        assert watcher.ended is None
    server["a"].accept()
    assert steps(counters(server.url("a"), 5), FRAMES) == {1}


def test_a_server_that_is_off_refuses_to_connect_and_listens_again_on_the_same_port(server):
    url, port = server.url("a"), server.port
    server.refuse()
    with pytest.raises(ConnectionRefusedError):
        counters(url, 1)
    server.accept()
    assert server.port == port
    assert steps(counters(url, 5), FRAMES) == {1}


def test_unauthorised_and_not_found(server):
    server["a"].unauthorised()
    with pytest.raises(av.error.HTTPUnauthorizedError):
        counters(server.url("a"), 1)
    server["a"].not_found()
    with pytest.raises(av.error.HTTPNotFoundError):
        counters(server.url("a"), 1)
    server["a"].accept()
    assert steps(counters(server.url("a"), 5), FRAMES) == {1}


@pytest.mark.parametrize("options", [TCP, UDP])
@pytest.mark.parametrize("name", ["a", "b"])
def test_garbage_in_packets_spoils_pictures_until_it_ends(server, name, options):
    with Watcher(server.url(name), options) as watcher:
        before = watcher.until(lambda frame: frame[0] is not None)
        server[name].garbage("payload")
        send_packets(server, name, 60)
        server[name].resume()
        found = [before[0], *watcher.take(60)]
    assert steps(found, FRAMES) != {1}
    assert steps(found[-15:], FRAMES) == {1} or options is UDP


def send_packets(server, name, count):
    """Wait until a mount has sent so many packets from now on."""
    with RtspClient(server.url(name)) as client:
        client.play()
        for _ in itertools.islice(client.packets(), count):
            pass


def test_junk_between_packets_is_seen_and_other_connections_work_again(server):
    with RtspClient(server.url("a")) as client:
        client.play()
        server["a"].garbage("junk")
        with pytest.raises(AssertionError):  # what comes is no longer framed
            for _ in itertools.islice(client.packets(), 10_000):
                pass
    server["a"].resume()
    assert steps(counters(server.url("a"), 5), FRAMES) == {1}


def test_losing_packets_loses_pictures_over_udp(server):
    with RtspClient(server.url("a")) as client:
        client.play()
        server["a"].lose(0.3)
        client._kept.clear()
        packets = (Rtp.parse(packet) for channel, packet in client.packets() if channel == 0)
        sequences = [packet.sequence for packet in itertools.islice(packets, 100)]
        gaps = {(later - earlier) & 0xFFFF for earlier, later in itertools.pairwise(sequences)}
        assert {1, 2} <= gaps
    with Watcher(server.url("a"), UDP) as watcher:
        assert steps(watcher.take(30), FRAMES) != {1}
        server["a"].resume()
        watcher.until(lambda frame: frame[0] is not None)


def test_a_share_that_is_none_is_refused(server):
    with pytest.raises(ValueError, match=r"must be 0 to 1, got 1\.5"):
        server["a"].lose(1.5)


def test_a_change_ends_connections_and_the_next_description_tells_the_new_film(server, films):
    with Watcher(server.url("a")) as watcher:
        assert watcher.until(lambda frame: True)[1:3] == (320, "h264")
        server["a"].change(films["heavy"])
        assert watcher.join() is not None
    with Watcher(server.url("a")) as watcher:
        assert watcher.until(lambda frame: True)[1:3] == (640, "h264")
        assert steps(watcher.take(5), FRAMES) == {1}
    server["a"].change(films["hevc"])
    with Watcher(server.url("a")) as watcher:
        assert watcher.until(lambda frame: True)[1:3] == (320, "hevc")


def test_a_change_in_band_keeps_the_connection_the_clock_and_the_sequence(server, films):
    with Watcher(server.url("a")) as watcher, RtspClient(server.url("a")) as client:
        client.play()
        watcher.take(5)
        server["a"].change(films["small"], in_band=True)
        first = watcher.until(lambda frame: frame[1] == 192)
        assert first[0] == 0
        assert steps([0, *watcher.take(10)], FRAMES) == {1}
        assert watcher.ended is None
        packets = [Rtp.parse(p) for channel, p in itertools.islice(client.packets(), 80) if channel == 0]
    assert {(b.sequence - a.sequence) & 0xFFFF for a, b in itertools.pairwise(packets)} == {1}
    assert all(0 <= (b.ticks - a.ticks) % (1 << 32) <= 90_000 for a, b in itertools.pairwise(packets))


def test_a_change_in_band_to_another_codec_is_refused(server, films):
    with pytest.raises(ValueError, match="no change in band from h264 to hevc"):
        server["a"].change(films["hevc"], in_band=True)


def test_the_wall_clock_jumps_in_sender_reports(server):
    with RtspClient(server.url("a")) as client:
        client.play()
        reports = (SenderReport.parse(packet) for channel, packet in client.packets() if channel == 1)
        before = next(reports)
        server["a"].clock_jump(-3600.0)
        after = next(reports)
    passed_s = (after.ticks - before.ticks) % (1 << 32) / 90_000
    assert after.unix_s - before.unix_s == pytest.approx(passed_s - 3600, abs=0.5)


def test_the_media_clock_jumps_in_time_stamps(server):
    with Watcher(server.url("a")) as watcher:
        before = watcher.until(lambda frame: frame[3] is not None)
        server["a"].clock_jump(100.0, "media")
        after = watcher.until(lambda frame: frame[3] > before[3] + 50)
        steps_between = (after[0] - before[0]) % FRAMES
    assert after[3] - before[3] - 100 == pytest.approx(steps_between / RATE, abs=0.001)
