"""Commanded changes in the file: only what was asked, whole or not at all, and nothing that a person wrote is lost."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frameloom.model.errors import SiteError
from frameloom.site import save
from frameloom.site.load import load
from frameloom.site.model import Site
from frameloom.site.problems import InvalidSite
from frameloom.site.save import SiteFile

ENVIRONMENT = {"PW": "hunter2", "T": "30"}
TEXT = """\
# My site.
site: demo   # its name

cameras:
  hall: rtsp://10.0.0.5/stream    # over the door
  # Lent by Bob.
  yard:
    url: "rtsp://ada:${PW}@10.0.0.6/x"  # the password is in the environment
    view: {quality: 60}
  film: {url: 'films/tank.mp4', loop: true}

processors:
  motion:
    use: motion
    stream: hall
    params:
      threshold: ${T}   # levels
      area: 0.5
      ignore:           # the tree
        - [[0, 0], [1, 0], [1, 1]]
      gone: 1

sinks:
  small: {kind: view, stream: hall}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "site.yaml").write_text(TEXT)
    return tmp_path / "site.yaml"


@pytest.fixture
def file(path: Path) -> SiteFile:
    return SiteFile(path, ENVIRONMENT)


Act = Callable[[SiteFile], Site]
EDITS: list[tuple[str, Act, list[tuple[str, str]]]] = [
    ("a value", lambda f: f.set_params("motion", {"area": 0.25}), [("area: 0.5", "area: 0.25")]),
    ("a whole float", lambda f: f.set_params("motion", {"area": 3.0}), [("area: 0.5", "area: 3")]),
    (
        "a reference",
        lambda f: f.set_params("motion", {"threshold": 31}),
        [("threshold: ${T} ", "threshold: 31 ")],
    ),
    ("the same value", lambda f: f.set_params("motion", {"threshold": 30.0, "area": 0.5, "gone": 1}), []),
    (
        "back to default",
        lambda f: f.set_params("motion", {"gone": None, "never": None}),
        [("      gone: 1\n", "")],
    ),
    ("one is not true", lambda f: f.set_params("motion", {"gone": True}), [("gone: 1", "gone: true")]),
    (
        "regions",
        lambda f: f.set_params("motion", {"ignore": (((0.0, 0.0), (1, 0.5), (1.0, 1)),)}),
        [
            (
                "      ignore:           # the tree\n        - [[0, 0], [1, 0], [1, 1]]\n",
                "      # the tree\n      ignore: [[[0, 0], [1, 0.5], [1, 1]]]\n",
            )
        ],
    ),
    (
        "a text with a dollar sign",
        lambda f: f.set_params("motion", {"label": "${PW} # 5$", "mode": "b"}),
        [("      gone: 1\n", '      gone: 1\n      label: "$${PW} # 5$$"\n      mode: b\n')],
    ),
    (
        "a camera's short form off",
        lambda f: f.set_enabled("hall", False),
        [
            (
                "  hall: rtsp://10.0.0.5/stream    # over the door\n",
                "  hall:\n    url: rtsp://10.0.0.5/stream    # over the door\n    enabled: false\n",
            )
        ],
    ),
    (
        "a camera off",
        lambda f: f.set_enabled("film", False),
        [("loop: true}", "loop: true, enabled: false}")],
    ),
    ("what is on on", lambda f: f.set_enabled("film", True), []),
    (
        "a processor off",
        lambda f: f.set_enabled("motion", False),
        [("      gone: 1\n", "      gone: 1\n    enabled: false\n")],
    ),
    (
        "the server off",
        lambda f: f.set_enabled("server", False),
        [("hall}\n", "hall}\nserver:\n  enabled: false\n")],
    ),
    (
        "WebRTC off",
        lambda f: f.set_enabled("webrtc", False),
        [("hall}\n", "hall}\nserver:\n  webrtc: false\n")],
    ),
    (
        "a view off",
        lambda f: f.set_enabled("yard.view", False),
        [("quality: 60}", "quality: 60, enabled: false}")],
    ),
    (
        "a short view off",
        lambda f: f.set_enabled("film.view", False),
        [("loop: true}", "loop: true, view: false}")],
    ),
    (
        "a view's value",
        lambda f: f.set_params("yard.view", {"quality": 70}),
        [("quality: 60", "quality: 70")],
    ),
    (
        "a sink's value",
        lambda f: f.set_params("small", {"max_fps": 5}),
        [("stream: hall}", "stream: hall, max_fps: 5}")],
    ),
    (
        "a short camera's view's value",
        lambda f: f.set_params("hall.view", {"quality": 70}),
        [
            (
                "  hall: rtsp://10.0.0.5/stream    # over the door\n",
                "  hall:\n    url: rtsp://10.0.0.5/stream    # over the door\n    view:\n      quality: 70\n",
            )
        ],
    ),
    (
        "a new camera",
        lambda f: f.add_camera("door", "rtsp://10.0.0.7/x"),
        [("loop: true}\n", "loop: true}\n  door: rtsp://10.0.0.7/x\n")],
    ),
    (
        "a new camera with settings",
        lambda f: f.add_camera(
            "door", {"url": "/dev/video0", "width": 640, "height": 480, "view": {"quality": 50}}
        ),
        [
            (
                "loop: true}\n",
                "loop: true}\n  door:\n    url: /dev/video0\n    width: 640\n    height: 480\n"
                "    view:\n      quality: 50\n",
            )
        ],
    ),
    (
        "a new camera with a reference",
        lambda f: f.add_camera("door", "rtsp://u:${PW}@h/x", references=True),
        [("loop: true}\n", 'loop: true}\n  door: "rtsp://u:${PW}@h/x"\n')],
    ),
    (
        "a new processor",
        lambda f: f.add_processor("second", {"use": "motion", "stream": "film"}),
        [("      gone: 1\n", "      gone: 1\n  second:\n    use: motion\n    stream: film\n")],
    ),
    (
        "a camera removed",
        lambda f: f.remove("yard"),
        [
            (
                '  yard:\n    url: "rtsp://ada:${PW}@10.0.0.6/x"  # the password is in the environment\n'
                "    view: {quality: 60}\n",
                "",
            )
        ],
    ),
    ("the only sink removed", lambda f: f.remove("small"), [("  small: {kind: view, stream: hall}\n", "")]),
]


@pytest.mark.parametrize(("act", "changes"), [one[1:] for one in EDITS], ids=[one[0] for one in EDITS])
def test_an_edit_changes_what_it_must_and_nothing_else(
    path: Path, file: SiteFile, act: Act, changes: list[tuple[str, str]]
) -> None:
    expected = TEXT
    for old, new in changes:
        assert old in expected
        expected = expected.replace(old, new)
    returned = act(file)
    assert path.read_text() == expected
    assert returned == load(path, ENVIRONMENT)


def test_what_is_returned_says_what_was_asked(file: SiteFile) -> None:
    assert (
        file.set_params("motion", {"area": 2, "label": "${PW}"}).processors["motion"].params["label"]
        == "${PW}"
    )
    assert not file.set_enabled("hall", False).cameras["hall"].enabled
    assert not file.set_enabled("hall.view", False).cameras["hall"].view.enabled
    assert file.set_enabled("hall.view", True).cameras["hall"].view.enabled
    assert not file.set_enabled("server", False).server.enabled
    assert not file.set_enabled("small", False).sinks["small"].enabled
    assert file.set_params("hall.view", {"quality": 40}).cameras["hall"].view.quality == 40
    assert file.set_params("hall.view", {"quality": None}).cameras["hall"].view.quality == 80
    assert file.add_camera("door", "a$${b.mp4").cameras["door"].url == "a$${b.mp4"
    assert "door" not in file.remove("door").cameras
    assert file.load().processors["motion"].params["area"] == 2


def test_secrets_are_not_written(path: Path, file: SiteFile) -> None:
    file.set_params("motion", {"area": 1})
    file.set_enabled("yard", False)
    file.remove("film")
    assert "hunter2" not in path.read_text()
    assert "${PW}" in path.read_text()


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda f: f.set_params("motoin", {}),
            "no processor, sink or view 'motoin', allowed: motion, small, hall.view",
        ),
        (lambda f: f.set_params("hall", {"a": 1}), "no processor, sink or view 'hall'"),
        (
            lambda f: f.set_params("small", {"stream": "yard"}),
            "no parameter 'small.stream', allowed: quality, max_width, max_fps, max_kbps",
        ),
        (
            lambda f: f.set_enabled("nobody", True),
            "no worker 'nobody', allowed: hall, yard, film, motion, small, server",
        ),
        (lambda f: f.remove("server"), "no camera, processor or sink 'server'"),
        (lambda f: f.remove("hall"), "processors.motion.stream: read 'hall', allowed: yard, film"),
        (lambda f: f.add_camera("hall", "x.mp4"), "'hall' is there already"),
        (lambda f: f.add_camera("motion", "x.mp4"), "'motion' is there already"),
        (lambda f: f.add_camera("Door", "x.mp4"), "cameras.Door: camera name: read 'Door'"),
        (
            lambda f: f.add_camera("door", {"url": "x.mp4", "trasport": "udp"}),
            "unknown key, did you mean 'transport'?",
        ),
        (lambda f: f.add_camera("door", "${NOPE}", references=True), "environment variable NOPE is not set"),
        (lambda f: f.add_processor("second", {"use": "motion", "stream": "nothing"}), "read 'nothing'"),
        (
            lambda f: f.set_params("yard.view", {"quality": 5}),
            "read 5, allowed: a whole number from 20 to 95",
        ),
        (lambda f: f.set_params("motion", {"a": float("nan")}), "a value that cannot be written"),
        (lambda f: f.set_params("motion", {"a": object()}), "a value that cannot be written"),
        (lambda f: f.set_params("motion", {"a": "\ud800"}), "a value that cannot be written"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    path: Path, file: SiteFile, act: Act, message: str
) -> None:
    with pytest.raises(SiteError, match=re.escape(message)):
        act(file)
    assert path.read_text() == TEXT
    assert [one.name for one in path.parent.iterdir()] == ["site.yaml"]


def test_a_refusal_names_no_line_of_a_text_that_nobody_has_seen(path: Path, file: SiteFile) -> None:
    with pytest.raises(InvalidSite) as caught:
        file.add_camera("door", {"url": "ftp://u:hunter2@h/x"})
    assert str(caught.value).startswith(
        f"{path}: not saved: cameras.door.url: read a scheme that is not known"
    )
    assert "hunter2" not in str(caught.value)


SHARED = """\
cameras: {a: rtsp://h/1, b: rtsp://h/2}
processors:
  one: {use: motion, stream: a, params: &p {threshold: 1}}
  two: {use: motion, stream: b, params: *p}
"""


def test_a_value_that_others_refer_to_is_not_changed_behind_their_back(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SHARED)
    with pytest.raises(SiteError, match="shared with others through an anchor"):
        SiteFile(tmp_path / "site.yaml").set_params("one", {"threshold": 2})
    assert (tmp_path / "site.yaml").read_text() == SHARED


def test_one_who_refers_to_a_value_gets_a_value_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "site.yaml").write_text(SHARED)
    site = SiteFile(tmp_path / "site.yaml").set_params("two", {"threshold": 2})
    assert site.processors["one"].params == {"threshold": 1}
    assert site.processors["two"].params == {"threshold": 2}


def test_a_file_with_errors_is_left_to_its_editor(path: Path, file: SiteFile) -> None:
    path.write_text("cameras: [half a thought")
    with pytest.raises(InvalidSite, match="not YAML"):
        file.set_params("motion", {"area": 1})
    assert path.read_text() == "cameras: [half a thought"


def test_windows_line_ends_and_the_byte_order_mark_stay(path: Path, file: SiteFile) -> None:
    before = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    path.write_bytes(before)
    file.set_params("motion", {"area": 0.25, "label": "x"})
    expected = before.replace(b"area: 0.5", b"area: 0.25").replace(
        b"gone: 1\r\n", b"gone: 1\r\n      label: x\r\n"
    )
    assert path.read_bytes() == expected


def test_an_edit_sees_what_a_person_wrote_meanwhile(path: Path, file: SiteFile) -> None:
    file.load()
    path.write_text(TEXT.replace("area: 0.5", "area: 0.5  # mine"))
    file.set_params("motion", {"area": 0.25})
    assert "area: 0.25  # mine" in path.read_text()


def test_an_edit_begins_again_if_a_person_saves_while_it_is_made(
    path: Path, file: SiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def write_beside(target: Path, data: bytes) -> Path:
        temporary = real(target, data)
        if not written:
            written.append(path.write_text(TEXT.replace("gone: 1", "gone: 2  # mine")))
        return temporary

    real = save._write_beside
    monkeypatch.setattr(save, "_write_beside", write_beside)
    file.set_params("motion", {"area": 0.25})
    assert path.read_text() == TEXT.replace("gone: 1", "gone: 2  # mine").replace("area: 0.5", "area: 0.25")


def test_an_edit_gives_up_on_a_file_that_never_rests(
    path: Path, file: SiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_beside(target: Path, data: bytes) -> Path:
        path.write_text(path.read_text() + "# again\n")
        return real(target, data)

    real = save._write_beside
    monkeypatch.setattr(save, "_write_beside", write_beside)
    with pytest.raises(SiteError, match="something else changes the file all the time"):
        file.set_params("motion", {"area": 0.25})
    assert [one.name for one in path.parent.iterdir()] == ["site.yaml"]
    assert "area: 0.5" in path.read_text()


def test_the_mode_stays(path: Path, file: SiteFile) -> None:
    path.chmod(0o640)
    file.set_params("motion", {"area": 1})
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_owner_stays(path: Path, file: SiteFile) -> None:
    """Only root may give a file away; others may at least change its group."""
    owner, group = (1234, 2345) if os.geteuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(path, owner, group)
    file.set_params("motion", {"area": 1})
    assert (path.stat().st_uid, path.stat().st_gid) == (owner, group)


# Root may write whatever the mode says, so this one is done by somebody else.
WITHOUT_RIGHTS = """
import os, sys
from frameloom.site.save import SiteFile
path = sys.argv[1]
if os.geteuid() == 0:
    os.chown(path, 65534, 65534)
    os.chown(os.path.dirname(path), 65534, 65534)
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
try:
    SiteFile(path, {"PW": "hunter2", "T": "30"}).set_params("motion", {"area": 0.25})
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("file_mode", "folder_mode", "message"),
    [
        (0o400, 0o700, "SiteError {path}: not saved: the file is read-only\n"),
        (0o600, 0o500, "SiteError {path}: not saved: Permission denied; the old file is unchanged\n"),
        (0o000, 0o700, "InvalidSite {path}: cannot be read: Permission denied\n"),
        (0o600, 0o700, ""),
    ],
)
def test_what_we_may_not_write_is_left_alone(file_mode: int, folder_mode: int, message: str) -> None:
    with tempfile.TemporaryDirectory() as folder:  # unlike `tmp_path`, not below a folder of root's
        path = Path(folder) / "site.yaml"
        path.write_text(TEXT)
        path.chmod(file_mode)
        path.parent.chmod(folder_mode)
        done = subprocess.run(
            [sys.executable, "-c", WITHOUT_RIGHTS, path], capture_output=True, text=True, check=True
        )
        path.parent.chmod(0o700)
        assert done.stdout == message.format(path=path)
        path.chmod(0o600)
        assert ("area: 0.5" in path.read_text()) == bool(message)


def test_a_link_is_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / "site.yaml"
    link.symlink_to("../site.yaml")
    SiteFile(link, ENVIRONMENT).set_params("motion", {"area": 0.25})
    assert link.is_symlink()
    assert "area: 0.25" in path.read_text()
    assert [one.name for one in (tmp_path / "links").iterdir()] == ["site.yaml"]


def test_nothing_is_written_where_nothing_changes(path: Path, file: SiteFile) -> None:
    before = path.stat()
    file.set_params("motion", {"area": 0.5})
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_two_who_change_the_file_at_the_same_time_are_both_heard(
    path: Path, file: SiteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = threading.Thread(target=file.set_params, args=("motion", {"extent": 2}))

    def replace(source: Path, target: Path) -> None:
        if second.ident is None:
            second.start()
            second.join(0.3)  # time enough to write between our last look and our own writing, if it may
        real(source, target)

    real = os.replace
    monkeypatch.setattr(os, "replace", replace)
    file.set_params("motion", {"area": 1})
    second.join()
    params = file.load().processors["motion"].params
    assert (params["area"], params["extent"]) == (1, 2)


# A real limit on the size of files, in a process of its own: the write fails half way, as on a full disk.
ON_A_FULL_DISK = """
import resource, sys
from frameloom.site.save import SiteFile
file = SiteFile(sys.argv[1], {"PW": "hunter2", "T": "30"})
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
file.set_params("motion", {"area": 0.25})
"""


def test_a_full_disk_leaves_the_old_file_whole(path: Path) -> None:
    code = textwrap.dedent(ON_A_FULL_DISK)
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert f"SiteError: {path}: not saved: File too large; the old file is unchanged" in done.stderr
    assert path.read_text() == TEXT
    assert [one.name for one in path.parent.iterdir()] == ["site.yaml"]


# A file that nobody planned: random layout, a numbered comment in every place that can have one, random edits.


class Layout:
    """Writes a site in one of very many ways, as `draw` has it."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.step = " " * draw(st.sampled_from([1, 2, 4]))
        self.numbers = iter(range(1000))

    def above(self, indent: str, owner: str) -> str:
        """Comments in lines of their own, and perhaps an empty line."""
        count = self.draw(st.integers(0, 2))
        lines = [f"{indent}#{owner}{next(self.numbers)}\n" for _ in range(count)]
        return "".join(lines) + "\n" * self.draw(st.integers(0, 1))

    def after(self, owner: str) -> str:
        """Perhaps a comment at the end of a line."""
        return f"  #{owner}{next(self.numbers)}" if self.draw(st.booleans()) else ""

    def camera(self, name: str) -> str:
        url = self.draw(
            st.sampled_from(["rtsp://h/x", "'rtsp://h/#x'", '"rtsp://${PW}@h/x"', "films/a b.mp4"])
        )
        deep = 2 * self.step
        lines = f"{deep}url: {url}{self.after(name)}\n"
        forms = [
            f" {url}{self.after(name)}\n",
            f" {{url: {url}}}{self.after(name)}\n",
            f"{self.after(name)}\n{self.above(deep, name)}{lines}",
            f"{self.after(name)}\n{lines}{deep}view: false{self.after(name)}\n{self.above(deep, name)}",
        ]
        return f"{self.above(self.step, 'top')}{self.step}{name}:{self.draw(st.sampled_from(forms))}"

    def params(self, name: str) -> str:
        deep = 3 * self.step
        many = (
            f"{{a: 1,{self.after(name)}\n{deep}b: [1,{self.after(name)}\n{deep}2]{self.after(name)}\n{deep}}}"
        )
        lines = (
            f"{self.after(name)}\n{self.above(deep, name)}{deep}a: 1{self.after(name)}\n{deep}b:{self.after(name)}\n"
            f"{deep}- 1{self.after(name)}\n{deep}- 2"
        )
        return self.draw(st.sampled_from(["{}", "{a: 1, b: [1, 2]}", "", many, lines]))

    def processor(self, name: str) -> str:
        params = self.params(name)
        head = f"{self.above(self.step, 'top')}{self.step}{name}:"
        if "\n" not in params and self.draw(st.booleans()):
            return f"{head} {{use: motion, stream: hall, params: {params}}}{self.after(name)}\n"
        lines = [f"use: motion{self.after(name)}", "stream: hall", f"params: {params}{self.after(name)}"]
        return f"{head}{self.after(name)}\n" + "".join(f"{2 * self.step}{line}\n" for line in lines)

    def site(self) -> str:
        sections = [
            f"cameras:{self.after('top')}\n{self.camera('hall')}{self.camera('yard')}",
            f"processors:{self.after('top')}\n{self.processor('one')}{self.processor('two')}",
            self.draw(st.sampled_from(["", "site: demo\n", "server: {port: 1} #top\n"])),
        ]
        text = self.above("", "top").join(["", *self.draw(st.permutations(sections)), ""])
        return text if self.draw(st.booleans()) else text.rstrip("\n")


@st.composite
def layouts(draw: st.DrawFn) -> str:
    """A site of two cameras and two processors."""
    return Layout(draw).site().replace("\n", draw(st.sampled_from(["\n", "\r\n"])))


JSON: st.SearchStrategy[Any] = st.recursive(
    st.booleans()
    | st.integers(-9, 9)
    | st.floats(-9, 9)
    | st.text(alphabet="aN:#${}[]'\", -\n\té\x7f\u2028", max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=2),
    max_leaves=5,
)
PARAMS = st.dictionaries(st.sampled_from("abcd"), st.none() | JSON, min_size=1, max_size=3)
NAMES = st.sampled_from(["hall", "yard", "one", "two", "hall.view", "yard.view", "server"])
STEPS = st.lists(
    st.tuples(st.just("set"), st.sampled_from(["one", "two"]), PARAMS)
    | st.tuples(st.just("set"), st.just("hall.view"), st.fixed_dictionaries({"quality": st.integers(20, 95)}))
    | st.tuples(st.just("enable"), NAMES, st.booleans())
    | st.tuples(
        st.just("add"), st.sampled_from(["new", "newer"]), st.sampled_from(["x.mp4", {"url": "y.mp4"}])
    )
    | st.tuples(st.just("remove"), st.sampled_from(["yard", "one", "two"]), st.none()),
    min_size=1,
    max_size=5,
)


def numbered(text: str) -> list[str]:
    """The comments that `layouts` wrote: no value and no URL has such a mark."""
    return re.findall(r"#(?:top|hall|yard|one|two)\d*", text)


def plain(site: Site) -> dict[str, Any]:
    return site.model_dump(mode="json")


def canonical(value: Any) -> Any:
    """Tuples as lists, as files have them."""
    return [canonical(one) for one in value] if isinstance(value, list | tuple) else value


def act(file: SiteFile, step: tuple[str, str, Any], site: dict[str, Any]) -> None:
    """Do one step to the file, and to `site`, what is expected of it."""
    kind, name, value = step
    section = next((one for one in ("cameras", "processors") if name in site[one]), "")
    camera = name.removesuffix(".view")
    view = site["cameras"][camera]["view"] if name != camera and camera in site["cameras"] else {}
    if kind == "set" and (section or view):
        file.set_params(name, value)
        place = view or site["processors"][name]["params"]
        place |= canonical(value)
        for key in [key for key in place if place[key] is None]:
            del place[key]
    elif kind == "enable" and (section or view or name == "server"):
        file.set_enabled(name, value)
        (view or (site[section][name] if section else site["server"]))["enabled"] = value
    elif kind == "add" and not section:
        added = file.add_camera(name, value)
        site["cameras"][name] = plain(added)["cameras"][name]
    elif kind == "remove" and section:
        file.remove(name)
        del site[section][name]


@settings(max_examples=150)
@given(text=layouts(), steps=STEPS)
def test_random_edits_keep_every_comment_and_do_what_they_say(
    tmp_path_factory: pytest.TempPathFactory, text: str, steps: list[tuple[str, str, Any]]
) -> None:
    path = tmp_path_factory.mktemp("site") / "site.yaml"
    path.write_bytes(text.encode())
    file = SiteFile(path, ENVIRONMENT)
    expected = plain(file.load())
    comments = numbered(text)
    for step in steps:
        act(file, step, expected)
        comments = (
            comments
            if step[0] != "remove"
            else [one for one in comments if not one.startswith(f"#{step[1]}")]
        )
    assert plain(file.load()) == expected
    assert sorted(numbered(path.read_bytes().decode())) == sorted(comments)
