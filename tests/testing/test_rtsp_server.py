"""The RTSP server: independent clients get every picture; sessions follow the standard."""

import hashlib
import itertools
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from frameloom.testing.cameras import SYSTEM_PYTHON, GstRtspCamera
from frameloom.testing.films import read_counter
from frameloom.testing.needs import missing, require_program, required
from frameloom.testing.rtsp_server import RtspServer
from tests.testing.pictures import FRAMES, KINDS, RATE, counters, steps
from tests.testing.rtsp_client import Rtp, RtspClient, SenderReport


@pytest.fixture(scope="module")
def server(films):
    with RtspServer(films, seed=1) as server:
        yield server


@pytest.fixture
def client(server):
    with RtspClient(server.url("h264")) as client:
        yield client


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_gets_every_picture_over_tcp_beyond_the_film_s_end(server, kind):
    found = counters(server.url(kind), FRAMES + 15)
    assert found[0] % 10 == 0 or kind == "mjpeg"
    assert steps(found, FRAMES) == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_pyav_gets_pictures_in_order_over_udp(server, kind):
    found = counters(server.url(kind), 30, "udp")
    # Packets may be lost between processes of a busy machine; what decodes whole must be in order all the same.
    clean = [number for number in found if number is not None]
    assert len(clean) > 15
    assert all(0 < step < FRAMES // 2 for step in steps(clean, FRAMES))


def test_time_stamps_go_on_beyond_the_film_s_end(server):
    with av.open(server.url("h264"), options={"rtsp_transport": "tcp"}, timeout=30) as camera:
        frames = itertools.islice(camera.decode(video=0), FRAMES + 15)
        times_s = [frame.time for frame in frames if frame.time is not None]
    growth = [later - earlier for earlier, later in itertools.pairwise(times_s)]
    assert growth == pytest.approx([1 / RATE] * len(growth), abs=0.001)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("kind", ["h264", "hevc", "mjpeg"])
def test_ffprobe_reads_what_is_served(server, kind, transport):
    ffprobe = require_program("ffprobe", package="ffmpeg")
    command = [ffprobe, "-v", "error", "-read_intervals", "%+#12", "-of", "compact"]
    command += ["-show_entries", "stream=codec_name,width,height:packet=flags"]
    run = subprocess.run(
        [*command, "-rtsp_transport", transport, server.url(kind)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"codec_name={kind}|width=320|height=240" in run.stdout
    assert len(re.findall("^packet", run.stdout, re.MULTILINE)) == 12
    assert re.match(r"packet\|flags=K", run.stdout)


@pytest.mark.parametrize("kind", ["h264-b", "hevc-b", "mjpeg"])
def test_ffmpeg_gets_every_picture_over_tcp(server, kind):
    ffmpeg = require_program("ffmpeg", package="ffmpeg")
    command = [ffmpeg, "-v", "error", "-rtsp_transport", "tcp", "-i", server.url(kind)]
    command += ["-frames:v", "40", "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"]
    run = subprocess.run(command, capture_output=True, timeout=60, check=True)
    pictures = np.frombuffer(run.stdout, np.uint8).reshape(-1, 240, 320)
    assert len(pictures) == 40
    assert steps(map(read_counter, pictures), FRAMES) == {1}


DECODERS = {
    "h264": "rtph264depay ! avdec_h264",
    "hevc": "rtph265depay ! avdec_h265",
    "mjpeg": "rtpjpegdepay ! jpegdec",
}


@pytest.mark.parametrize("kind", DECODERS)
def test_gstreamer_gets_every_picture_over_tcp(server, kind):
    with required(), GstRtspCamera():
        pass  # GStreamer and its bindings are there
    script = Path(__file__).with_name("gst_client.py")
    command = [SYSTEM_PYTHON, str(script), server.url(kind), "tcp", DECODERS[kind], "25"]
    run = subprocess.run(command, capture_output=True, timeout=100)
    if b"no element" in run.stderr:
        missing("GStreamer's decoders are not installed: apt-get install gstreamer1.0-libav")
    assert run.returncode == 0, run.stderr.decode()
    pictures = np.frombuffer(run.stdout, np.uint8).reshape(-1, 240, 320)
    assert steps(map(read_counter, pictures), FRAMES) == {1}


def test_many_clients_at_once_each_get_every_picture(server):
    found = {}

    def watch(name, kind):
        found[name] = counters(server.url(kind), 40)

    kinds = ["h264", "h264", "h264", "hevc"]
    threads = [threading.Thread(target=watch, args=pair) for pair in enumerate(kinds)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [steps(found[name], FRAMES) for name in range(4)] == [{1}] * 4


def test_players_are_counted(films):
    with RtspServer({"a": films["h264"], "b": films["h264"]}) as server:
        with RtspClient(server.url("a")) as one, RtspClient(server.url("a")) as two:
            one.play()
            two.play()
            assert server["a"].wait_players(lambda count: count == 2) == 2
            assert server["b"].players == 0
        server["a"].wait_players(lambda count: count == 0)
        assert server["a"].sent_units >= 2
        with pytest.raises(TimeoutError, match=r"mount 'a': 0 players after 0\.0 s"):
            server["a"].wait_players(bool, timeout_s=0.0)


def test_a_server_that_closes_closes_its_clients(films):
    with RtspServer({"a": films["h264"]}) as server:
        client = RtspClient(server.url("a"))
        client.play()
    with client:
        assert client.at_end()


def test_a_port_that_is_taken_is_an_error(server, films):
    with pytest.raises(OSError, match="address already in use"), RtspServer(films, port=server.port):
        pass


def test_a_file_that_cannot_be_served_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        RtspServer({"a": tmp_path / "none.mp4"})


# Messages


def test_options_are_told(client):
    answer = client.ask("OPTIONS")
    assert answer.status == 200
    assert answer.headers["cseq"] == "1"
    wanted = {"OPTIONS", "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN", "GET_PARAMETER", "SET_PARAMETER"}
    assert set(answer.headers["public"].split(", ")) == wanted


def test_a_description_names_codec_and_control(client):
    answer = client.ask("DESCRIBE", Accept="application/sdp")
    assert answer.headers["content-type"] == "application/sdp"
    assert answer.headers["content-base"] == client.url + "/"
    lines = answer.body.decode().split("\r\n")
    assert "m=video 0 RTP/AVP 96" in lines
    assert "a=rtpmap:96 H264/90000" in lines
    assert "a=control:trackID=0" in lines
    assert any(
        re.match(r"a=fmtp:96 packetization-mode=1;profile-level-id=\w{6};sprop", line) for line in lines
    )


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", r"RTP/AVP/TCP;unicast;interleaved=4-5;ssrc=[0-9A-F]{8}"),
        ("RTP/AVP/TCP", r"RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=[0-9A-F]{8}"),
        (
            "RTP/AVP;unicast;client_port=5000-5001",
            r"RTP/AVP;unicast;client_port=5000-5001;server_port=\d+-\d+;ssrc=[0-9A-F]{8}",
        ),
        (
            "RTP/AVP;multicast, RTP/AVP/TCP;unicast;interleaved=0-1",
            r"RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=[0-9A-F]{8}",
        ),
    ],
)
def test_transports_are_agreed_on(client, asked, answered):
    answer = client.ask("SETUP", "/trackID=0", Transport=asked)
    assert answer.status == 200
    assert re.fullmatch(answered, answer.headers["transport"])
    assert re.fullmatch(r"[0-9a-f]{16};timeout=60", answer.headers["session"])


@pytest.mark.parametrize(
    "asked", ["RTP/AVP;multicast", "RTP/SAVP;unicast;client_port=5-6", "", "RTP/AVP;unicast"]
)
def test_other_transports_are_refused(client, asked):
    assert client.ask("SETUP", "/trackID=0", Transport=asked).status == 461


def test_only_the_transports_that_are_allowed_are_agreed_on(films):
    with (
        RtspServer({"a": films["h264"]}, transports=["udp"]) as server,
        RtspClient(server.url("a")) as client,
    ):
        assert client.ask("SETUP", Transport="RTP/AVP/TCP").status == 461
        assert client.ask("SETUP", Transport="RTP/AVP;unicast;client_port=5000-5001").status == 200


def test_what_does_not_fit_is_answered_with_the_standard_s_status(client):
    assert client.ask("PLAY").status == 454
    assert client.ask("PAUSE").status == 454
    assert client.ask("RECORD").status == 405
    client.play()
    assert client.ask("SETUP", Transport="RTP/AVP/TCP").status == 455
    client.session = "another"
    assert client.ask("TEARDOWN").status == 454


def test_an_unknown_name_is_not_found(server):
    with RtspClient(server.url("nothing")) as client:
        assert client.ask("DESCRIBE").status == 404
        assert client.ask("SETUP", Transport="RTP/AVP/TCP").status == 404
    with pytest.raises(av.error.HTTPNotFoundError):
        counters(server.url("nothing"), 1)


@pytest.mark.parametrize(
    "rubbish", [b"hello\r\n\r\n", b"x" * 40_000, b"DESCRIBE u RTSP/1.0\r\nContent-Length: -1\r\n\r\n"]
)
def test_what_is_no_rtsp_is_refused_and_ends_the_connection_only(server, rubbish):
    with RtspClient(server.url("h264")) as client:
        client.send(rubbish)
        assert client.at_end()
    with RtspClient(server.url("h264")) as client:
        assert client.ask("OPTIONS").status == 200


def test_play_tells_the_first_packet_and_that_one_comes(client):
    info = client.play().headers["rtp-info"]
    first = next(Rtp.parse(packet) for channel, packet in client.packets() if channel == 0)
    url, sequence, ticks = (part.partition("=")[2] for part in info.split(";"))
    assert url == client.url + "/trackID=0"
    assert (int(sequence), int(ticks)) == (first.sequence, first.ticks)
    assert first.payload[0] & 31 == 7  # a parameter set, as before every key frame


def test_sequence_numbers_follow_each_other_without_a_gap(client):
    client.play()
    packets = (Rtp.parse(packet) for channel, packet in client.packets() if channel == 0)
    sequences = [packet.sequence for packet in itertools.islice(packets, 150)]
    assert {(later - earlier) & 0xFFFF for earlier, later in itertools.pairwise(sequences)} == {1}


def test_a_pause_pauses_and_play_begins_again_at_a_key_frame(client):
    client.play()
    assert client.ask("PAUSE").status == 200
    played = list(client._kept)
    assert client.ask("GET_PARAMETER").status == 200
    assert client._kept == played  # nothing has come since the pause
    client._kept.clear()
    assert client.ask("PLAY").status == 200
    first = next(Rtp.parse(packet) for channel, packet in client.packets() if channel == 0)
    assert first.payload[0] & 31 == 7


def test_teardown_ends_the_connection(client):
    client.play()
    assert client.ask("TEARDOWN").status == 200
    assert client.at_end()


def test_a_sender_report_comes_first_and_ties_the_clocks_together(client):
    before_s = time.time()
    client.play()
    packets = client.packets()
    channel, packet = next(packets)
    after_s = time.time()
    assert channel == 1
    report = SenderReport.parse(packet)
    assert before_s - 0.001 <= report.unix_s <= after_s + 0.001
    first = Rtp.parse(next(packets)[1])
    assert report.ssrc == first.ssrc
    ahead_s = ((report.ticks - first.ticks + (1 << 31)) % (1 << 32) - (1 << 31)) / 90_000
    assert (
        -0.05 <= ahead_s <= 10 / RATE + 0.1 + after_s - before_s
    )  # the newest key is ten frames old at most


def test_sender_reports_come_again_and_count(films):
    with (
        RtspServer({"a": films["h264"]}, report_interval_s=0.1) as server,
        RtspClient(server.url("a")) as client,
    ):
        client.play()
        sent = octets = 0
        reports = []
        for channel, packet in client.packets():
            if channel == 1:
                reports.append(SenderReport.parse(packet))
                assert (reports[-1].packets, reports[-1].octets) == (sent, octets)
                if len(reports) == 4:
                    break
            else:
                sent, octets = sent + 1, octets + len(packet) - 12
    assert sent > 10
    passed_s = (reports[-1].ticks - reports[0].ticks) % (1 << 32) / 90_000
    assert passed_s > 0.25
    assert reports[-1].unix_s - reports[0].unix_s == pytest.approx(passed_s, abs=0.1)


# Sessions


def udp_pair():
    """Two neighbouring UDP ports, the lower one even."""
    while True:
        lower = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        lower.bind(("127.0.0.1", 0))
        port = lower.getsockname()[1]
        upper = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if port % 2 == 0:
                upper.bind(("127.0.0.1", port + 1))
                return lower, upper
        except OSError:
            pass
        lower.close()
        upper.close()


def test_a_silent_udp_client_is_dropped_and_a_reporting_one_is_not(films):
    with RtspServer({"a": films["h264"]}, session_timeout_s=1.0) as server:
        silent, reporting = udp_pair(), udp_pair()
        with RtspClient(server.url("a")) as one, RtspClient(server.url("a")) as other:
            for client, (rtp, _) in ((one, silent), (other, reporting)):
                port = rtp.getsockname()[1]
                client.play(f"RTP/AVP;unicast;client_port={port}-{port + 1}")
            ended = threading.Thread(target=one.at_end)
            ended.start()
            while ended.is_alive():
                reporting[1].sendto(b"\x80\xc9\x00\x01\0\0\0\1", ("127.0.0.1", rtcp_port(server)))
                ended.join(0.05)
            assert other.ask("GET_PARAMETER").status == 200
        for sock in (*silent, *reporting):
            sock.close()


def rtcp_port(server):
    return server._service.udp_ports().numbers[1]


def test_a_connection_that_asks_nothing_is_dropped(films):
    with (
        RtspServer({"a": films["h264"]}, session_timeout_s=0.2) as server,
        RtspClient(server.url("a")) as client,
    ):
        assert client.at_end()


def test_a_slow_client_loses_pictures_and_no_other_does(films):
    with RtspServer({"a": films["heavy"]}, buffer_bytes=65_536) as server:
        with RtspClient(server.url("a"), receive_buffer_bytes=16_384) as slow:
            slow.play()
            found = counters(server.url("a"), 60)
            assert steps(found, FRAMES) == {1}
            packets = (Rtp.parse(packet) for channel, packet in slow.packets() if channel == 0)
            pictures = itertools.groupby(packets, key=lambda packet: packet.ticks)
            times = [ticks for ticks, _ in itertools.islice(pictures, 40)]
        ticks_a_picture = 90_000 // RATE
        jumps = [
            (later - earlier) % (1 << 32) // ticks_a_picture for earlier, later in itertools.pairwise(times)
        ]
        assert max(jumps) > 5
        assert server["a"].dropped_units >= max(jumps) - 1


# Authentication


@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_users_get_in_and_others_do_not(films, auth):
    with RtspServer({"a": films["h264"]}, users={"anna": "se:cret/ö"}, auth=auth) as server:
        assert steps(counters(server.url("a", user="anna"), 5), FRAMES) == {1}
        for url in (server.url("a"), server.url("a").replace("//", "//anna:wrong@")):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                counters(url, 1)


@pytest.mark.parametrize("header", ["Basic !!!", "Basic YW5uYQ==", "Digest username=anna", "Bearer x", ""])
@pytest.mark.parametrize("auth", ["digest", "basic"])
def test_rubbish_does_not_authenticate(films, auth, header):
    server = RtspServer({"a": films["h264"]}, users={"anna": "x"}, auth=auth)
    with server, RtspClient(server.url("a")) as client:
        answer = client.ask("DESCRIBE", Authorization=header)
        assert answer.status == 401
        assert answer.headers["www-authenticate"].lower().startswith(f'{auth} realm="frameloom"')
        assert client.ask("OPTIONS").status == 200


def digest(url, nonce):
    """What anna, whose password is x, answers to a nonce (RFC 2617, without qop)."""
    secret, asked = md5("anna:Frameloom:x"), md5(f"DESCRIBE:{url}")
    response = md5(f"{secret}:{nonce}:{asked}")
    return f'Digest username="anna", realm="Frameloom", nonce="{nonce}", uri="{url}", response="{response}"'


def md5(text):
    return hashlib.md5(text.encode()).hexdigest()


def test_an_answer_to_another_connection_s_challenge_does_not_authenticate(films):
    server = RtspServer({"a": films["h264"]}, users={"anna": "x"})
    with server, RtspClient(server.url("a")) as one, RtspClient(server.url("a")) as other:
        nonces = [
            re.search('nonce="(.*?)"', client.ask("DESCRIBE").headers["www-authenticate"])[1]
            for client in (one, other)
        ]
        assert one.ask("DESCRIBE", Authorization=digest(one.url, nonces[1])).status == 401
        assert one.ask("DESCRIBE", Authorization=digest(one.url, nonces[0])).status == 200


# The program


def test_the_program_serves_and_ends_on_sigterm(films):
    command = [sys.executable, "-m", "frameloom.testing.rtsp_server", "--port", "0"]
    program = subprocess.Popen(
        [*command, f"one={films['h264']}", f"two={films['hevc']}"], stdout=subprocess.PIPE, text=True
    )
    try:
        urls = dict(program.stdout.readline().split() for _ in range(2))
        assert list(urls) == ["one", "two"]
        assert steps(counters(urls["two"], 10), FRAMES) == {1}
        program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["one"], "want name=file, got 'one'"),
        (["one=/nowhere/film.mp4"], "No such file"),
        (["--user", "anna", "one=x"], "FRAMELOOM_RTSP_PASSWORD"),
    ],
)
def test_the_program_says_what_is_wrong(arguments, message):
    command = [sys.executable, "-m", "frameloom.testing.rtsp_server", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert message in run.stderr
    assert "Traceback" not in run.stderr
