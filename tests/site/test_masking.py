"""What is hidden of a site's text, and that it is put back, byte by byte."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frameloom.site.document import parse
from frameloom.site.masking import masked, restored

SITE = """\
# The gate.   rtsp://old:commented@10.0.0.1/x was it; password: alsoold
site: demo
server: {port: 0}
cameras:
  hall: rtsp://guard:pa$$word@10.0.0.5/stream   # the short form
  yard:
    url: "rtsp://u:a\\"b@10.0.0.6/h264?password=xyz&channel=1"
    username: admin
    password: 'it''s'   # passwd=oldone
  gate: {url: rtsp://10.0.0.8/x, password: gatesecret, username: x, options: {headers: "Authorization: b"}}
  free: {url: 'rtsp://u:${PW}@10.0.0.9/x', password: '${PW}', options: {rtsp_flags: prefer_tcp}}
  part: {url: rtsp://10.0.0.9/x, username: x, password: 'a${PW}b'}
  other: {url: rtsp://10.0.0.9/x, username: x, password: '${PW:-fallback}'}
  maker: rtsp://10.0.0.1:554/user=admin_password=tlJwpbo6_channel=1_stream=0.sdp
  spaced: "rtsp://u:pass word@10.0.0.2/x"
  slashed: rtsp://u:sla/shed@10.0.0.2/x
  anchored: {url: rtsp://h/x, username: x, password: &p anchoredsecret}
  aliased: {url: rtsp://h/x, username: x, password: *p}
  block:
    url: >-
      rtsp://u:folded@10.0.0.3/x
    password: |
      blocksecret
    # a comment
  number: {url: rtsp://h/x, username: x, password: 4711}
processors:
  p: {use: motion, stream: hall, params: {token: 12345, low_pass: 3, label: "http://h/?key=keysecret"}}
rtsp:
  users: {viewer: viewersecret}
database: postgresql://u:dbsecret@127.0.0.1/x
"""
SECRETS = (
    "commented alsoold pa$$word xyz it''s oldone gatesecret Authorization a${PW}b fallback tlJwpbo6 sla/shed "
    "anchoredsecret folded blocksecret 4711 12345 keysecret viewersecret dbsecret"
).split()


def test_no_secret_is_shown_and_all_else_is() -> None:
    shown = masked(SITE)
    assert [secret for secret in [*SECRETS, "pass word", 'a\\"b'] if secret in shown] == []
    for part in (
        "rtsp://u:${PW}@10.0.0.9/x",
        "'${PW}'",
        "low_pass: 3",
        "rtsp_flags: prefer_tcp",
        "username: admin",
    ):
        assert part in shown
    assert "&p" in shown and "*p" in shown and "channel=1_stream=0.sdp" in shown
    parse(shown, "")


def test_what_comes_back_unchanged_is_what_stood_there() -> None:
    assert restored(SITE, masked(SITE)).text == SITE
    assert restored(SITE, masked(SITE)).problems == []


def test_a_file_that_is_no_yaml_hides_its_secrets_too_and_takes_them_back() -> None:
    broken = SITE + "cameras: [\n"
    shown = masked(broken)
    left = [secret for secret in SECRETS if secret in shown]
    assert left == ["blocksecret", "viewersecret"], "of a text that nobody can read, lines are looked at"
    assert restored(broken, shown).text == broken
    mended = restored(broken, shown.replace("cameras: [\n", ""))
    assert mended.text == SITE
    assert restored(broken, shown.replace("10.0.0.5", "10.0.0.55")).problems != []


def put_back(before: str, old: str, new: str) -> tuple[str, list[str]]:
    """The text after a replacement in what is shown, and where secrets are missing."""
    shown = masked(before)
    assert old in shown
    result = restored(before, shown.replace(old, new, 1))
    return result.text, [f"{one.line}:{one.column} {one.where}" for one in result.problems]


GATE = "  gate: {{url: rtsp://10.0.0.7/h264, password: {}}}\n"
BASE = """\
cameras:
  hall: rtsp://guard:first@10.0.0.5/stream
  yard:
    url: rtsp://10.0.0.6/h264
    password: "second"
  gate: {url: rtsp://10.0.0.7/h264, password: third}
"""


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        # another host, path, user: the password stays
        ("***@10.0.0.5/stream", "***@10.0.0.55/other", ("first@10.0.0.5/stream", "first@10.0.0.55/other")),
        # the short form becomes a mapping
        ("rtsp://guard:***@10.0.0.5/stream", "{url: rtsp://guard:***@10.0.0.5/stream, transport: udp}",
         ("rtsp://guard:first@10.0.0.5/stream", "{url: rtsp://guard:first@10.0.0.5/stream, transport: udp}")),
        # another style of quotes
        ('"***"', "'***'", ('"second"', '"second"')),
        ("rtsp://guard:***@10.0.0.5/stream", "'rtsp://guard:***@10.0.0.9/stream'",
         ("rtsp://guard:first@10.0.0.5/stream", "'rtsp://guard:first@10.0.0.9/stream'")),
        # a new name, and a new name with another change
        ("  yard:", "  garden:", ("  yard:", "  garden:")),
        ("  yard:\n    url: rtsp://10.0.0.6", "  garden:\n    url: rtsp://10.0.0.66",
         ("  yard:\n    url: rtsp://10.0.0.6", "  garden:\n    url: rtsp://10.0.0.66")),
        # another password, a reference instead, none at all
        ('"***"', '"fourth"', ('"second"', '"fourth"')),
        ('"***"', "${YARD}", ('"second"', "${YARD}")),
        ('    password: "***"\n', "", ('    password: "second"\n', "")),
        # an entry twice
        (GATE.format('"***"'), GATE.format('"***"') + GATE.format('"***"').replace("gate", "gate2"),
         (GATE.format("third"), GATE.format("third") + GATE.format("third").replace("gate", "gate2"))),
    ],
)  # fmt: skip
def test_secrets_follow_what_they_belong_to(old: str, new: str, wanted: tuple[str, str]) -> None:
    assert put_back(BASE, old, new) == (BASE.replace(*wanted), [])


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("cameras:\n", "cameras:\n  new: rtsp://a:***@10.0.0.9/x\n", ["2:17 cameras.new"]),
        ("cameras:\n", 'cameras:\n  new: {url: rtsp://10.0.0.9/x, password: "***"}\n', ["2:43 cameras.new.password"]),
        # two new names at once: whose password is whose is not known
        ("  yard:\n    url: rtsp://10.0.0.6/h264\n    password: \"***\"\n  gate: {url: rtsp://10.0.0.7",
         "  a:\n    url: rtsp://10.0.1.6/h264\n    password: \"***\"\n  b: {url: rtsp://10.0.1.7",
         ["5:15 cameras.a.password", "6:44 cameras.b.password"]),
    ],
)  # fmt: skip
def test_stars_that_stand_for_nothing_are_told_with_their_place(old: str, new: str, where: list[str]) -> None:
    assert put_back(BASE, old, new)[1] == where


def test_a_moved_entry_keeps_its_own_secret() -> None:
    lines = masked(BASE).splitlines(keepends=True)
    turned = "".join([lines[0], lines[5], *lines[2:5], lines[1]])
    own = BASE.splitlines(keepends=True)
    assert restored(BASE, turned).text == "".join([own[0], own[5], *own[2:5], own[1]])


def test_a_problem_is_told_where_it_stands_in_what_is_shown() -> None:
    before = "cameras: {a: 'rtsp://u:very-long-secret@h/x', b: {url: rtsp://h/x, trasport: udp}}\n"
    shown = masked(before)
    result = restored(before, shown)
    (problem,) = [result.told(one) for one in _problems(result.text)]
    assert shown[problem.column - 1 :].startswith("trasport")


def _problems(text: str) -> list[object]:
    from frameloom.site.load import from_text
    from frameloom.site.problems import InvalidSite

    with pytest.raises(InvalidSite) as caught:
        from_text(text, "site.yaml", {})
    return list(caught.value.problems)


PASSWORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12)


def quoted(text: str, style: str) -> str:
    if style == "'":
        return "'" + text.replace("'", "''") + "'"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@settings(max_examples=40)
@given(st.lists(st.tuples(PASSWORDS, st.sampled_from("'\""), st.booleans()), min_size=1, max_size=4))
def test_whatever_the_secrets_are(entries: list[tuple[str, str, bool]]) -> None:
    lines = ["cameras:"]
    for number, (secret, style, in_flow) in enumerate(entries):
        word = quoted(f"secret-{secret}-", style)
        keys = (f"url: rtsp://h{number}/x", f"password: {word}")
        if in_flow:
            lines.append(f"  c{number}: {{{', '.join(keys)}}}")
        else:
            lines += [f"  c{number}:", *(f"    {key}" for key in keys)]
    text = "\n".join(lines) + "\n"
    shown = masked(text)
    assert "secret-" not in shown
    assert restored(text, shown).text == text
    moved = restored(text, shown.replace("://h", "://other"))
    assert (moved.text, moved.problems) == (text.replace("://h", "://other"), [])


@pytest.mark.parametrize(
    "text", ["", "word", "rtsp://u:secret@h/x", "- rtsp://u:secret@h/x\n", "# only words", "a: *b"]
)
def test_what_is_no_site_is_masked_too(text: str) -> None:
    shown = masked(text)
    assert shown == text.replace("secret", "***")
    assert restored(text, shown).text == text
