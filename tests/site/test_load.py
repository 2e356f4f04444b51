"""From the text to the site, and every way to get it wrong: told with file, line, what was read and what is allowed."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from frameloom.model.errors import SiteError
from frameloom.model.parameters import Choice, Integer, Number, Parameter, Regions, Text, Toggle
from frameloom.site.load import check_params, from_text, load
from frameloom.site.model import Site
from frameloom.site.problems import InvalidSite
from frameloom.site.rules import OWNERS

FULL = """\
site: demo
server: {host: 0.0.0.0, port: 9000, enabled: false}
cameras:
  hall: rtsp://10.0.0.5/stream
  yard:
    url: rtsp://${YARD_USER}:${YARD_PASSWORD:-none}@10.0.0.6/h264
    transport: udp
    enabled: false
    view: false
  film: {url: films/tank.mp4, loop: true, view: {quality: 60}}
  desk: {url: /dev/video0, format: mjpeg, width: 1280, height: 720, fps: 30}
processors:
  hall-motion:
    use: motion
    stream: hall
    params: {threshold: 25, ignore: [[[0, 0], [0.3, 0], [0.3, 0.2]]], gone: }
    policy: every
    hang_s: 90
  second: {use: shop.people:Count, stream: hall-motion, enabled: false}
sinks:
  small: {kind: view, stream: hall, max_width: 320}
limits: {hang_s: 60, backoff_s: [1, 2]}
"""


def site_of(text: str, **environment: str) -> Site:
    return from_text(text, "site.yaml", environment)


def wrong(text: str, **environment: str) -> list[str]:
    """The lines of the error that `text` gives."""
    with pytest.raises(SiteError) as caught:
        site_of(text, **environment)
    return str(caught.value).splitlines()


@pytest.fixture
def full() -> Site:
    return site_of(FULL, YARD_USER="ada")


def test_every_part_is_read(full: Site) -> None:
    assert full.name == "demo"
    assert (full.server.host, full.server.port, full.server.enabled) == ("0.0.0.0", 9000, False)
    assert full.cameras["yard"].url == "rtsp://ada:none@10.0.0.6/h264"
    assert (full.cameras["yard"].transport, full.cameras["yard"].enabled) == ("udp", False)
    assert full.cameras["film"].loop
    assert (full.cameras["desk"].width, full.cameras["desk"].fps) == (1280, 30)
    assert full.processors["hall-motion"].params == {
        "threshold": 25,
        "ignore": [[[0, 0], [0.3, 0], [0.3, 0.2]]],
    }
    assert (full.processors["hall-motion"].policy, full.processors["hall-motion"].hang_s) == ("every", 90)
    assert full.sinks["small"].max_width == 320
    assert (full.limits.hang_s, full.limits.backoff_s) == (60, [1, 2])


def test_a_view_is_there_by_default_and_has_two_short_forms(full: Site) -> None:
    assert full.cameras["hall"].view.enabled
    assert not full.cameras["yard"].view.enabled
    assert (full.cameras["film"].view.enabled, full.cameras["film"].view.quality) == (True, 60)


def test_the_short_form_of_a_camera_is_its_url() -> None:
    assert site_of("cameras: {a: film.mp4}") == site_of("cameras:\n  a:\n    url: film.mp4\n")


def test_the_defaults_keep_to_this_machine() -> None:
    site = site_of("cameras: {}")
    assert site.name == "default"
    assert (site.server.host, site.server.port, site.server.enabled) == ("127.0.0.1", 8080, True)


def test_a_key_with_nothing_after_it_has_its_default() -> None:
    text = "site:\nserver:\ncameras:\n  a: {url: x.mp4, enabled: , view: }\nprocessors:\nsinks:\nlimits:\n"
    assert site_of(text) == site_of("cameras: {a: x.mp4}")


def test_numbers_and_switches_may_come_from_the_environment() -> None:
    text = "server: {port: '${PORT}', enabled: '${WEB:-off}'}"
    server = site_of(text, PORT="81").server
    assert (server.port, server.enabled) == (81, False)


def test_a_byte_order_mark_and_windows_line_ends_are_read() -> None:
    assert site_of("\ufeffsite: a\r\ncameras:\r\n  b: c.mp4\r\n").cameras["b"].url == "c.mp4"


def test_anchors_and_merges() -> None:
    text = """
cameras:
  a: &a {url: "rtsp://${HOST}/1", transport: udp}
  b: {<<: *a, url: rtsp://h/2}
  c: *a
"""
    cameras = site_of(text, HOST="h").cameras
    assert (cameras["b"].url, cameras["b"].transport) == ("rtsp://h/2", "udp")
    assert cameras["c"] == cameras["a"]


def test_a_file_is_loaded_and_remembers_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("cameras: {a: '${CAMERA}'}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAMERA", "x.mp4")
    site = load("site.yaml")
    assert site.cameras["a"].url == "x.mp4"
    assert (site.file, site.base_dir) == ("site.yaml", tmp_path.resolve())
    assert site == load(tmp_path / "site.yaml")


WRONG = [
    ("site: Demo", "site.yaml:1: site: read 'Demo', allowed: 1 to 48 of a-z, 0-9, '-' and '_', beginning with a "
     "letter or digit"),
    ("servr: {}", "site.yaml:1: servr: unknown key, did you mean 'server'? allowed: site, server, rtsp, cameras, "
     "processors, sinks, limits, database"),
    ("server: {port: http}", "site.yaml:1: server.port: read 'http', allowed: a whole number from 0 to 65535"),
    ("server: {port: 70000}", "site.yaml:1: server.port: read 70000, allowed: a whole number from 0 to 65535"),
    ("server: {port: true}", "site.yaml:1: server.port: read true, allowed: a whole number from 0 to 65535"),
    ("server: {port: 1.5}", "site.yaml:1: server.port: read 1.5, allowed: a whole number from 0 to 65535"),
    ("server: {port: [1]}", "site.yaml:1: server.port: read a list, allowed: a whole number from 0 to 65535"),
    ("server:\n  host: a b",
     "site.yaml:2: server.host: read 'a b', allowed: an IP address or the name of this machine"),
    ("server: 80", "site.yaml:1: server: read 80, allowed: a mapping of host, port, login, tls, enabled"),
    ("server: {enabled: maybe}", "site.yaml:1: server.enabled: read 'maybe', allowed: true or false"),
    ("cameras: [a]", "site.yaml:1: cameras: read a list, allowed: a mapping of names to cameras"),
    ("cameras:\n  a:\n    loop: true", "site.yaml:2: cameras.a.url: missing, allowed: rtsp://, rtsps://, "),
    ("cameras:\n  a:\n", "site.yaml:2: cameras.a.url: missing, allowed: rtsp://"),
    ("cameras: {a: 5}", "site.yaml:1: cameras.a: read a number, allowed: a URL, or a mapping of url, "),
    ("cameras: {a: ''}", "site.yaml:1: cameras.a.url: read a text, allowed: rtsp://"),
    ("cameras:\n  a:\n    url: x.mp4\n    trasport: udp",
     "site.yaml:4: cameras.a.trasport: unknown key, did you mean 'transport'? allowed: url, "),
    ("cameras: {a: {url: 'rtsp://h', transport: smoke}}",
     "site.yaml:1: cameras.a.transport: read 'smoke', allowed: one of tcp, udp"),
    ("cameras: {a: {url: x.mp4, loop: 3}}", "site.yaml:1: cameras.a.loop: read 3, allowed: true or false"),
    ("cameras:\n  a:\n    url: /dev/video0\n    fps: -1\n",
     "site.yaml:4: cameras.a.fps: read -1, allowed: a number above 0 and up to 1000"),
    ("cameras:\n  a:\n    url: x.mp4\n    transport: udp",
     "site.yaml:4: cameras.a.transport: allowed only for rtsp, this is file"),
    ("cameras:\n  a: ftp://h/x", "site.yaml:2: cameras.a.url: read a scheme that is not known, allowed: rtsp://"),
    ("cameras: {a: {url: x.mp4, view: 5}}",
     "site.yaml:1: cameras.a.view: read 5, allowed: "
     "true, false, or a mapping of enabled, quality, max_width, max_fps, max_kbps"),
    ("cameras: {a: {url: x.mp4, view: {quality: 5}}}",
     "site.yaml:1: cameras.a.view.quality: read 5, allowed: a whole number from 20 to 95"),
    ("cameras: {Hall: x.mp4}", "site.yaml:1: cameras.Hall: camera name: read 'Hall', allowed: 1 to 48 of a-z"),
    ("cameras: {server: x.mp4}", "site.yaml:1: cameras.server: the name is taken by the web server"),
    ("cameras: {a: x.mp4}\nprocessors: {a: {use: motion, stream: a}}",
     "site.yaml:2: processors.a: the name is taken by cameras.a"),
    ("processors: {a: {use: motion}}", "site.yaml:1: processors.a.stream: missing, allowed: the name of a camera"),
    ("cameras: {hall: x.mp4}\nprocessors:\n  a: {use: motion, stream: hal}",
     "site.yaml:3: processors.a.stream: read 'hal', did you mean 'hall'? allowed: hall, a"),
    ("processors: {a: {use: motion, stream: a}}",
     "site.yaml:1: processors.a.stream: a circle that no picture ever enters: a reads a"),
    ("processors:\n  c: {use: m, stream: a}\n  a: {use: m, stream: b}\n  b: {use: m, stream: a}",
     "site.yaml:3: processors.a.stream: a circle that no picture ever enters: a reads b, b reads a"),
    ("cameras: {b: x.mp4}\nprocessors: {a: {use: 'rm -rf', stream: b}}",
     "site.yaml:2: processors.a.use: read 'rm -rf', allowed: a built-in"),
    ("cameras: {b: x.mp4}\nprocessors: {a: {use: m, stream: b, policy: all}}",
     "site.yaml:2: processors.a.policy: read 'all', allowed: one of latest, every"),
    ("cameras: {b: x.mp4}\nprocessors: {a: {use: m, stream: b, params: 3}}",
     "site.yaml:2: processors.a.params: read 3, allowed: a mapping of parameters to values"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: tape, stream: b}}",
     "site.yaml:2: sinks.a.kind: read 'tape', allowed: one of view, record"),
    ("cameras: {b: x.mp4}\nsinks: {a: {stream: b}}",
     "site.yaml:2: sinks.a.kind: missing, allowed: one of view, record"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: 5, stream: b}}",
     "site.yaml:2: sinks.a.kind: read 5, allowed: one of view, record"),
    ("cameras: {b: x.mp4}\nsinks: {a: 5}", "site.yaml:2: sinks.a: read 5, allowed: a mapping of kind, stream"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record}}",
     "site.yaml:2: sinks.a.stream: missing, allowed: the name of a camera"),
    ("cameras: {b: x.mp4}\nsinks:\n  a:\n    kind: record\n    stream: b\n    segment_s: 0",
     "site.yaml:6: sinks.a.segment_s: read 0, allowed: a number from 1 to 3600"),
    ("cameras: {b: x.mp4}\nsinks:\n  a:\n    kind: record\n    stream: b\n    keep_byte: 5GB",
     "site.yaml:6: sinks.a.keep_byte: unknown key, did you mean 'keep_bytes'? allowed: kind, stream, mode, on, folder"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, quality: 50}}",
     "site.yaml:2: sinks.a.quality: unknown key, allowed: kind, stream, mode, on, folder, segment_s"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: view, stream: b, folder: x}}",
     "site.yaml:2: sinks.a.folder: unknown key, allowed: kind, stream, quality, max_width"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, mode: events}}",
     "site.yaml:2: sinks.a.mode: read 'events', allowed: one of continuous, command, event"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, keep_bytes: 5XB}}",
     "site.yaml:2: sinks.a.keep_bytes: read '5XB', allowed: a size such as 500MB, 50GB or 2TiB, or 0"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, keep_bytes: -1}}",
     "site.yaml:2: sinks.a.keep_bytes: read '-1', allowed: a size such as 500MB, 50GB or 2TiB, or 0"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, keep_bytes: true}}",
     "site.yaml:2: sinks.a.keep_bytes: read true, allowed: a size such as 500MB, 50GB or 2TiB, or 0"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, reserve: 120%}}",
     "site.yaml:2: sinks.a.reserve: read '120%', allowed: a size such as 500MB or 1GB, or a share of the disk"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, mode: event}}",
     "site.yaml:2: sinks.a.on: missing, allowed for mode event: the name of a processor"),
    ("cameras: {b: x.mp4}\nprocessors: {m: {use: motion, stream: b}}\nsinks: {a: {kind: record, stream: b, on: m}}",
     "site.yaml:3: sinks.a.on: allowed only for mode event, this is continuous"),
    ("cameras: {b: x.mp4}\nprocessors: {m: {use: motion, stream: b}}\n"
     "sinks: {a: {kind: record, stream: b, mode: event, on: n}}",
     "site.yaml:3: sinks.a.on: read 'n', allowed: m"),
    ("cameras: {b: x.mp4, c: y.mp4}\n"
     "processors: {m: {use: motion, stream: c}, k: {use: motion, stream: l}, l: {use: motion, stream: b}}\n"
     "sinks: {a: {kind: record, stream: b, mode: event, on: m}}",
     "site.yaml:3: sinks.a.on: read 'm', allowed: k, l"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, mode: event, on: m}}",
     "site.yaml:2: sinks.a.on: read 'm', allowed: none, since no processor looks at that camera"),
    ("cameras: {b: x.mp4}\nsinks: {a: {kind: record, stream: b, folder: 3}}",
     "site.yaml:2: sinks.a.folder: read 3, allowed: the path of a folder"),
    ("sinks: {a: {kind: view, stream: b}}",
     "site.yaml:1: sinks.a.stream: read 'b', allowed: none, since the site has no camera"),
    ("cameras: {a: {url: x.mp4, options: {k: [1]}}}",
     "site.yaml:1: cameras.a.options.k: read a list, allowed: a text"),
    ("cameras: {a: {url: x.mp4, options: 1}}",
     "site.yaml:1: cameras.a.options: read a number, allowed: a mapping, each value a text"),
    ("cameras: {b: x.mp4}\nprocessors: {a: {use: m, stream: b, hang_s: 0}}",
     "site.yaml:2: processors.a.hang_s: read 0, allowed: a number from 1 to 3600"),
    ("limits: {start_s: 0}", "site.yaml:1: limits.start_s: read 0, allowed: a number from 1 to 600"),
    ("limits: {backoff_s: []}", "site.yaml:1: limits.backoff_s: read a list, allowed: a list of 1 to 20 numbers"),
    ("limits:\n  backoff_s: [1, -1]", "site.yaml:2: limits.backoff_s[1]: read -1, allowed: a number from 0 to 3600"),
    ("limits: {stable_s: .inf}", "site.yaml:1: limits.stable_s: read '.inf', allowed: a finite number"),
    ("cameras: {a: '${NOPE}'}", "site.yaml:1: cameras.a: the environment variable NOPE is not set"),
    ("cameras: {a: '${NO PE}'}", "site.yaml:1: cameras.a: a '${' that cannot be read, allowed: write ${NAME}"),
    ("", "site.yaml: is empty, allowed: a mapping of site, server, rtsp, cameras, processors, sinks, limits, database"),
    ("# nothing but words\n", "site.yaml: is empty, allowed: a mapping of site, "),
    ("- a\n", "site.yaml:1: read a list, allowed: a mapping of site, "),
    ("just words", "site.yaml:1: read 'just words', allowed: a mapping of site, "),
    ("!x {}", "site.yaml:1: a YAML tag (!) is not allowed"),
    ("a: [", "site.yaml:1: not YAML: "),
]  # fmt: skip


@pytest.mark.parametrize(("text", "start"), WRONG, ids=[start.split(": ", 2)[1][:30] for _, start in WRONG])
def test_what_is_wrong_is_told_once_in_one_line(text: str, start: str) -> None:
    (line,) = wrong(text)
    assert line.startswith(start)


def test_everything_wrong_is_told_at_once_in_the_order_of_the_file() -> None:
    text = """\
site: A
server: {port: x}
cameras:
  a: {url: a.mp4, loop: maybe}
  a: b.mp4
  b: ${NOPE}
processors:
  p: {use: motion, stream: q}
  r:
"""
    starts = [line.split(": ")[0] + " " + line.split(": ")[1] for line in wrong(text)]
    assert starts == [
        "site.yaml:1 site",
        "site.yaml:2 server.port",
        "site.yaml:4 cameras.a.loop",
        "site.yaml:5 cameras.a",
        "site.yaml:6 cameras.b",
        "site.yaml:8 processors.p.stream",
        "site.yaml:9 processors.r.stream",
        "site.yaml:9 processors.r.use",
    ]


@pytest.mark.parametrize("name", [*OWNERS])
def test_names_that_the_site_needs_itself_are_taken_and_documented(name: str) -> None:
    (line,) = wrong(f"cameras: {{{name}: x.mp4}}")
    assert line.startswith(f"site.yaml:1: cameras.{name}: the name is taken by the ")
    names = (Path(__file__).parents[2] / "docs" / "site-yaml.md").read_text().partition("## Names")[2]
    assert f"`{name}`" in names.partition("## ")[0]


def test_problems_are_there_for_programs_too() -> None:
    with pytest.raises(InvalidSite) as caught:
        site_of("server:\n  port: x\n")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column, problem.where) == (2, 3, "server.port")


def test_very_many_problems_are_cut_short() -> None:
    lines = wrong("".join(f"key{number}: 1\n" for number in range(80)))
    assert len(lines) == 51
    assert lines[-1] == "site.yaml: and 30 more"


SECRETS = {"SECRET": "hunter2", "OPEN": "rtsp://u:hunter2@10.0.0.6/x"}


@pytest.mark.parametrize(
    "text",
    [
        "cameras: {a: 'rtsp://u:hunter2@h:port/x'}",
        "cameras: {a: 'ftp://u:hunter2@h/x'}",
        "cameras: ['rtsp://u:hunter2@h/x']",
        "cameras: rtsp://u:hunter2@h/x",
        "cameras: {'rtsp://u:hunter2@h/x': a}",
        "cameras: {a: {'rtsp://u:hunter2@h/x': a}}",
        "cameras: {a: {url: x.mp4, password: hunter2}}",
        "cameras: {a: {url: [hunter2]}}",
        "cameras: {a: {url: 'rtsp://h', password: [hunter2]}}",
        "cameras: {a: {url: 'rtsp://h', options: hunter2}}",
        "cameras: {a: {url: 'rtsp://h', options: {k: [hunter2]}}}",
        "cameras: {a: {url: 'rtsp://h', password: *hunter2}}",
        "cameras: {a: {url: 'rtsp://h', password: !hunter2 x}}",
        "cameras: {a: {url: 'rtsp://h', password: &hunter2 }, b: 1}",
        "server: {port: '${SECRET}', host: '${OPEN}'}",
        "site: 'X${SECRET}'",
        "cameras: {a: {url: 'x.mp4', transport: '${SECRET}', pace: '${SECRET}', loop: '${SECRET}'}}",
        "cameras: {a: {url: '${SECRET}', transport: udp, format: '${SECRET}'}}",
        "cameras: {a: {url: '${OPEN}', loop: true}}",
        "processors: {a: {use: '${OPEN}', stream: '${SECRET}'}}",
        "site: rtsp://u:hunter2@h/x",
        "site: rtsp://h/live?token=hunter2",
        "limits: {start_s: 'admin:hunter2@h'}",
    ],
)
def test_no_secret_comes_out_of_an_error(text: str) -> None:
    with pytest.raises(SiteError) as caught:
        site_of(text, **SECRETS)
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vars(caught.value))
    assert "site.yaml:1: " in told
    assert "hunter2" not in told.replace(text, "")


def test_no_secret_comes_out_of_a_site() -> None:
    text = """
cameras:
  a: rtsp://u:hunter2@h/x
  b: {url: "${OPEN}", options: {k: hunter2}}
  c: {url: "rtsp://h", username: hunter2, password: "${SECRET}"}
processors:
  p: {use: motion, stream: a, params: {token: "${SECRET}"}}
"""
    site = site_of(text, **SECRETS)
    assert "hunter2" not in f"{site} {site!r} {site.cameras} {site.processors}"
    assert site.cameras["c"].password == "hunter2"


DECLARED: list[Parameter[Any]] = [
    Number(25, minimum=0, maximum=255, unit="levels", description="Luma change that counts"),
    Integer(3, minimum=1, maximum=9),
    Toggle(True),
    Choice("a", choices=("a", "b")),
    Text("x", longest=3),
    Regions(()),
]
NAMES = ("threshold", "count", "blur", "mode", "label", "ignore")
DECLARATIONS = {
    "motion": [
        parameter.declaration() | {"name": name} for parameter, name in zip(DECLARED, NAMES, strict=True)
    ]
}


def params(written: str, use: str = "motion") -> Site:
    text = f"cameras: {{hall: x.mp4}}\nprocessors:\n  m:\n    use: {use}\n    stream: hall\n    params:\n{written}\n"
    return site_of(text, T="30", WORD="hunter2")


GOOD = """\
      threshold: "${T}"
      count: 4
      blur: off
      mode: b
      label: ab
      ignore: [[[0, 0], [1, 0], [1, 1]]]"""


def test_params_that_fit_their_declarations() -> None:
    check_params(params(GOOD), DECLARATIONS)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("threshold: 300", "read 300, allowed: a number from 0 to 255 levels"),
        (
            "thresold: 3",
            "no such parameter, did you mean 'threshold'? allowed: threshold, count, blur, mode, label, ignore",
        ),
        ("count: 1.5", "read 1.5, allowed: a whole number from 1 to 9"),
        ("blur: maybe", "read 'maybe', allowed: on or off"),
        ("mode: c", "read 'c', allowed: one of a, b"),
        ("label: ${WORD}", "read '${WORD}', allowed: a text of at most 3 characters"),
        ("ignore: [[[0, 0], [1, 1]]]", "read a list, allowed: a list of polygons"),
    ],
)
def test_params_that_do_not_fit_are_told_with_their_line(written: str, message: str) -> None:
    with pytest.raises(SiteError) as caught:
        check_params(params(f"      {written}"), DECLARATIONS)
    name = written.split(":")[0]
    assert str(caught.value).startswith(f"site.yaml:7: processors.m.params.{name}: {message}")


def test_all_params_that_do_not_fit_are_told() -> None:
    with pytest.raises(SiteError) as caught:
        check_params(params("      threshold: 300\n      count: 0\n      mode: c"), DECLARATIONS)
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["7", "8", "9"]


def test_a_processor_without_parameters_says_so() -> None:
    with pytest.raises(SiteError, match="no such parameter, allowed: no parameters"):
        check_params(params("      a: 1"), {"motion": []})


def test_params_of_undescribed_processors_are_left_to_their_worker() -> None:
    check_params(params("      a: 1", use="shop.people:Count"), DECLARATIONS)


@pytest.mark.parametrize(
    "use", ["motion", "shop.people:Count", "Count:Count", "count.py:Count", "a/b c.py:X", "../x.py:X"]
)
def test_forms_of_use(use: str) -> None:
    assert params("      a: 1", use=f"'{use}'").processors["m"].use == use


@pytest.mark.parametrize("use", ["", "Motion", "a.b", "a:b:c", "x.py", "a.py:", ":X", "a b:C", "motion "])
def test_what_use_is_not(use: str) -> None:
    with pytest.raises(SiteError, match="a built-in processor, package"):
        params("      a: 1", use=f"'{use}'")


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    environment: dict[str, Any] = {**os.environ}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return set(done.stdout.split())


def test_nothing_here_loads_a_codec_or_a_web_framework() -> None:
    folder = Path(sys.modules["frameloom.site"].__path__[0])
    modules = [
        f"frameloom.site.{path.stem}" for path in folder.glob("*.py") if path.stem not in ("__init__", "run")
    ]
    loaded = modules_after(f"import {', '.join(modules)}")
    assert loaded >= {"frameloom.site.save", "pydantic"}
    forbidden = {"av", "cv2", "numpy", "fastapi", "starlette", "uvicorn", "onnxruntime"}
    assert sorted(loaded & forbidden) == []
