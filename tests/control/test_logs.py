"""The log of a worker: bounded, harmless, without secrets."""

from __future__ import annotations

from frameloom.control.logs import LINES_KEPT, LogRing, Redactor, printable


def test_the_ring_keeps_the_last_lines_and_counts_all() -> None:
    ring = LogRing()
    for number in range(1, LINES_KEPT + 101):
        ring.append(f"line {number}", at_utc_ns=number)
    kept = ring.tail(10_000)
    assert len(kept) == LINES_KEPT
    assert kept[0] == (101, 101, "line 101")
    assert ring.last_seq == LINES_KEPT + 100


def test_tail_gives_the_newest_and_only_those_after_a_number() -> None:
    ring = LogRing()
    for number in range(1, 11):
        ring.append(str(number), 0)
    assert [line.text for line in ring.tail(3)] == ["8", "9", "10"]
    assert [line.text for line in ring.tail(100, after=8)] == ["9", "10"]
    assert ring.tail(100, after=10) == []


def test_text_from_the_last_marker_on() -> None:
    ring = LogRing()
    for text in ("Fatal: old", "a", "Fatal: new", "b"):
        ring.append(text, 0)
    assert ring.text_after(0, "Fatal") == "Fatal: new\nb"
    assert ring.text_after(3, "Fatal") is None
    assert ring.text_after(1) == "a\nFatal: new\nb"
    assert ring.text_after(4) is None


def test_lines_are_made_harmless_for_terminals() -> None:
    assert printable(b"\x1b[31mred\x07\r\ttab \xff", cut=False) == "[31mred\ttab \N{REPLACEMENT CHARACTER}"
    assert printable(b"long", cut=True) == "long [...]"


def test_addresses_and_secrets_of_the_configuration_are_hidden() -> None:
    url = "rtsp://admin:pass-word@camera.example/path/5ecret?user=u"
    hide = Redactor("hall", {"source": {"url": url}, "mqtt": [{"password": "hunter22"}], "width": "640"})
    for secret in (url, "rtsp://camera.example/path/5ecret?user=u", "pass-word", "hunter22"):
        assert hide(f"cannot open {secret}: refused") == "cannot open <secret of hall>: refused"
    assert hide("640 frames") == "640 frames"


def test_files_and_very_short_words_are_not_hidden() -> None:
    hide = Redactor("film", {"url": "file:///films/a.mp4", "password": "abc"})
    assert hide("file:///films/a.mp4 abc") == "file:///films/a.mp4 abc"


def test_an_address_that_cannot_be_taken_apart_is_hidden_as_a_whole() -> None:
    hide = Redactor("hall", {"url": "rtsp://[::1"})
    assert hide("open rtsp://[::1 failed") == "open <secret of hall> failed"
