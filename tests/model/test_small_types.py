"""Names, packets, results, workers, clocks and errors: the small types that everything passes around."""

from __future__ import annotations

import json
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frameloom.model import errors
from frameloom.model.clock import SystemClock
from frameloom.model.names import ALLOWED, check_name, check_stream, packets_of, view_of
from frameloom.model.packet import Packet, PacketFormat
from frameloom.model.result import Event, Result
from frameloom.model.worker import State, WorkerReport, WorkerSpec

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,47}", fullmatch=True)


@given(NAMES)
def test_good_names_are_names_of_cameras_and_of_streams(name):
    assert check_name(name, "camera") == name
    for stream in (name, packets_of(name), view_of(name)):
        assert check_stream(stream) == stream


@pytest.mark.parametrize(
    "name", ["", "-a", "_a", "Hall", "a b", "a/b", "..", "ä", "a" * 49, "a\n", "a.b", 5, None]
)
def test_a_bad_name_is_refused_with_the_rule(name):
    with pytest.raises(errors.NeedsPerson) as caught:
        check_name(name, "camera")
    assert str(caught.value) == f"camera name: read {name!r}, allowed: {ALLOWED}"


@pytest.mark.parametrize("name", ["a.", ".a", "a.b.c", "a..b", "A.b", ""])
def test_a_bad_stream_name_is_refused(name):
    with pytest.raises(errors.NeedsPerson, match="stream name: read"):
        check_stream(name)


PACKET_FORMATS = st.builds(
    PacketFormat,
    st.sampled_from(["h264", "hevc", "mjpeg"]),
    st.integers(1, 9999),
    st.integers(1, 9999),
    st.binary(max_size=50),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from(["", "yuv420p"]),
)


@given(PACKET_FORMATS)
def test_a_packet_format_comes_back_through_json(packet_format):
    assert PacketFormat.from_json(json.loads(json.dumps(packet_format.to_json()))) == packet_format


def test_a_packet_has_metadata_that_nobody_shares_by_writing():
    packet = Packet(b"", PacketFormat("h264", 2, 2), 0, True, 0, 0)
    with pytest.raises(TypeError):
        packet.metadata["x"] = 1  # type: ignore[index]


def test_an_event_in_json_has_values_only_where_there_are_any():
    start = Event("id", "motion", "start", 5, 6, 5)
    end = Event("id", "motion", "end", 9, 10, 5, {"peak": 0.5})
    assert start.to_json() == {
        "id": "id", "name": "motion", "phase": "start", "pts_ns": 5, "at_ns": 6, "started_pts_ns": 5,
    }  # fmt: skip
    assert json.loads(json.dumps(end.to_json()))["values"] == {"peak": 0.5}


def test_a_result_is_read_by_key():
    result = Result("hall-motion", 1, "hall", 7, 5, 6, 7, {"score": 0.5})
    assert result["score"] == 0.5
    with pytest.raises(KeyError):
        result["boxes"]


def test_the_order_to_run_a_worker_comes_back_through_json():
    spec = WorkerSpec(
        "m", "processor", "a.b:C", {"use": "motion"}, {"threshold": 5}, ("hall",), enabled=False
    )
    assert WorkerSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_a_report_comes_back_through_json_even_from_a_later_version():
    report = WorkerReport(State.DEGRADED, "camera lost", fps=24.9, latency_ms=3.5, values={"a": 1})
    data = json.loads(json.dumps(report.to_json()))
    assert WorkerReport.from_json({**data, "something_new": 1}) == report


@given(st.sampled_from(State))
def test_every_state_travels(state):
    assert WorkerReport.from_json(json.loads(json.dumps(WorkerReport(state).to_json()))).state is state


def test_the_systems_clock_is_the_hosts():
    clock = SystemClock()
    before = time.monotonic_ns(), time.time_ns()
    now = clock.monotonic_ns(), clock.utc_ns()
    assert before[0] <= now[0] <= time.monotonic_ns()
    assert abs(now[1] - before[1]) < 3600 * 10**9  # UTC may jump, though not by much


def test_the_systems_clock_waits_until_it_is_interrupted():
    interrupt = threading.Event()
    assert SystemClock().wait(interrupt, 0.001) is False
    timer = threading.Timer(0.01, interrupt.set)
    timer.start()
    assert SystemClock().wait(interrupt, 60) is True
    timer.join()


def test_every_error_is_sorted_by_who_must_act():
    kinds = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.FrameloomError)]
    sorted_by = {kind.__name__: kind for kind in kinds}
    for name in ("SourceLost", "OutOfMemory"):
        assert issubclass(sorted_by[name], errors.TryAgain)
    for name in ("SourceMisconfigured", "ParameterError", "SiteError", "StreamBusy"):
        assert issubclass(sorted_by[name], errors.NeedsPerson)
    assert not [
        kind for kind in kinds if issubclass(kind, errors.TryAgain) and issubclass(kind, errors.NeedsPerson)
    ]


def test_a_refused_command_has_a_code_for_programs():
    error = errors.CommandError("no-such-worker", "no worker 'x'")
    assert (error.code, str(error)) == ("no-such-worker", "no worker 'x'")


@pytest.mark.parametrize("name", [5, None])
def test_a_stream_name_that_is_no_text_is_refused(name):
    with pytest.raises(errors.NeedsPerson):
        check_stream(name)


def test_a_refused_command_can_be_pickled():
    assert pickle.loads(pickle.dumps(errors.CommandError("code", "message"))).code == "code"
