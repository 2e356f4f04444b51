"""The recordings place: found by time, played on from film to film with what was seen, exported, deleted; and the
buttons that record, wherever a camera is seen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import av
import cv2
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from frameloom.testing.films import read_counter
from tests.journey.running import RunningSite, running_site, wait_until
from tests.server.sites import FRAMES, WIDTH, Watched, watched_site

from .interface import PATIENCE_MS, WatchedPage, button, go, named, shown, wait_frames
from .test_accessibility import findings
from .test_live import LOOK, image, is_outlined

pytestmark = pytest.mark.browser
expect.set_options(timeout=PATIENCE_MS)

FPS = 25
SEGMENT_S = 2
SINKS = f"sinks:\n  hall-rec: {{kind: record, stream: hall, segment_s: {SEGMENT_S}, reserve: 1MB}}\n"
PORCH = """\
site: porch
server: {port: 0}
cameras:
  porch: {url: 'synthetic:counter?width=320&height=240&fps=10'}
"""
# What is on the large canvas, film after film, as it is drawn.
NOTE_FRAMES = """() => {
  const canvas = document.querySelector('.frame canvas');
  window.noted = [];
  new MutationObserver(() => noted.push([canvas.dataset.film, Number(canvas.dataset.filmS)]))
    .observe(canvas, { attributeFilter: ['data-frames'] });
}"""
IS_AT = """wanted_ms => {
  const time = document.querySelector('.controls time');
  return time && Math.abs(Date.parse(time.dateTime) - wanted_ms) < 60;
}"""
DRAWN = "() => Number(document.querySelector('.lanes canvas').dataset.drawn ?? 0)"


def asked(site: RunningSite, path: str, method: str = "GET", body: object = None) -> Any:
    """The JSON that the server answers."""
    data = None if body is None else json.dumps(body).encode()
    with urlopen(
        Request(site.url + path, data, {"Content-Type": "application/json"}, method=method)
    ) as answer:
        return json.load(answer)


def films(site: RunningSite) -> list[dict[str, Any]]:
    """What is recorded of 'hall', without what is being written."""
    found = asked(site, "/api/recordings/hall")["segments"]
    return [each for each in found if each["state"] == "complete"]


def events(site: RunningSite) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = asked(site, "/api/events?camera=hall")["events"]
    return found


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, module_runtime_dir: Path) -> Iterator[Watched]:
    """'hall' is recorded in short films, with two events at least; 'yard' is not."""
    with watched_site(tmp_path_factory.mktemp("recorded"), module_runtime_dir, SINKS) as watched:
        for count in (1, 2):
            set_motion(watched.site, threshold=18, end_after_s=0)
            wait_until(lambda count=count: len(events(watched.site)) >= count)
            set_motion(watched.site, threshold=255)
            wait_until(lambda: all(event["end_utc_ns"] for event in events(watched.site)))
        set_motion(watched.site, threshold=18)
        wait_until(lambda: len(films(watched.site)) >= 5)
        yield watched


def set_motion(site: RunningSite, **values: float) -> None:
    asked(site, "/api/workers/motion/parameters", "PATCH", values)


def address(at_utc_ns: float) -> str:
    """As in the page's addresses: 20261121T130312.480Z."""
    at = datetime.fromtimestamp(at_utc_ns // 1e6 / 1e3 + 0.001, UTC)  # not before it, as a frame's moment
    return f"{at:%Y%m%dT%H%M%S}.{at.microsecond // 1000:03}Z"


@pytest.fixture
def page(watched: WatchedPage, running: Watched) -> Page:
    """At one second into the second film of 'hall'."""
    return opened(watched.page, films(running.site)[1]["begin_utc_ns"] + 1e9)


def opened(page: Page, at_utc_ns: float, more: str = "") -> Page:
    go(page, f"#/recordings/hall?at={address(at_utc_ns)}{more}")
    expect(picture(page)).to_have_attribute("data-film", re.compile("^hall-"))
    page.wait_for_function(IS_AT, arg=at_utc_ns / 1e6)
    still(page)
    return page


def picture(page: Page) -> Locator:
    return page.locator(".frame canvas").first


def still(page: Page) -> None:
    """Until what was sought is shown."""
    expect(page.locator(".frame")).to_have_attribute("data-waits", "false")


def stamp(page: Page) -> int:
    """The number of the picture, as it stands in the picture."""
    grey = cv2.cvtColor(image(page.locator(".frame").evaluate(LOOK)[0]), cv2.COLOR_BGR2GRAY)
    number = read_counter(grey)
    assert number is not None
    return number


def film_s(page: Page) -> float:
    return float(picture(page).get_attribute("data-film-s") or -1)


def stepped(page: Page, key: str) -> int:
    """The number of the next picture, or of the one before."""
    before = picture(page).get_attribute("data-film"), film_s(page)
    page.keyboard.press(key)
    page.wait_for_function(
        "([film, s]) => { const { dataset } = document.querySelector('.frame canvas');"
        " return dataset.film !== film || Number(dataset.filmS) !== s; }",
        arg=before,
    )
    return stamp(page)


def place_of(page: Page, at_utc_ns: float) -> tuple[float, float]:
    """Where a moment stands in the row of 'hall', in the window."""
    area = page.locator(".lanes").bounding_box()
    assert area is not None
    first, last = (span_end(page, end) for end in ("from", "to"))
    return area["x"] + (at_utc_ns / 1e6 - first) / (last - first) * area["width"], area["y"] + 16


def span_end(page: Page, end: str) -> float:
    address = page.evaluate("() => location.href")  # which `page.url` learns of later
    text = re.search(rf"[?&]{end}=(\d+T\d+\.\d+)Z", address)
    assert text, address
    return datetime.strptime(text[1], "%Y%m%dT%H%M%S.%f").replace(tzinfo=UTC).timestamp() * 1000


def test_frame_by_frame_over_the_ends_of_films(page: Page, running: Watched) -> None:
    """Each picture of the camera comes once, in both directions."""
    assert film_s(page) == pytest.approx(1, abs=1 / FPS)
    numbers = [stamp(page)]
    at = set()
    for key in [*".", *"." * 29, *"," * 35]:
        numbers.append(stepped(page, key))
        at.add(picture(page).get_attribute("data-film"))
    steps = [(b - a) % FRAMES for a, b in pairwise(numbers)]
    assert steps == [1] * 30 + [FRAMES - 1] * 35
    assert at == {film["id"] for film in films(running.site)[1:3]}


def test_the_time_is_that_of_the_frame(page: Page, running: Watched) -> None:
    film = films(running.site)[1]
    expect(page.locator(".controls time")).to_have_attribute("datetime", re.compile(r"T.*\.\d{3}Z$"))
    shown_ms = page.evaluate("() => Date.parse(document.querySelector('.controls time').dateTime)")
    assert shown_ms == pytest.approx(film["begin_utc_ns"] / 1e6 + film_s(page) * 1000, abs=1.01)
    expect(page.locator(".controls time")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d\.\d{3}$"))
    expect(page.locator(".controls .time")).to_have_attribute(
        "title", re.compile(r"^\d{4}-\d\d-\d\d .* UTC$")
    )


def test_it_plays_on_from_film_to_film(page: Page, running: Watched) -> None:
    ids = [film["id"] for film in films(running.site)]
    page.evaluate(NOTE_FRAMES)
    page.keyboard.press(" ")
    expect(button(page, "Pause")).to_be_visible()
    expect(picture(page)).to_have_attribute("data-film", ids[3])
    page.keyboard.press(" ")
    noted = page.evaluate("() => noted")
    order = list(dict.fromkeys(film for film, _ in noted))
    assert order == ids[1:4]
    for film in order[1:]:
        times = [at for name, at in noted if name == film]
        assert times == sorted(times)
        assert times[0] == 0, "each film is shown from its first picture"
    last = max(at for name, at in noted if name == ids[2])
    assert last > SEGMENT_S * 0.7, "and not left before it is at its end"


def test_speed_changes_how_fast_time_runs(page: Page) -> None:
    page.get_by_role("combobox", name="Speed").select_option("16")
    page.keyboard.press(" ")
    page.wait_for_function(
        "() => [...document.querySelectorAll('.frame video')].some(each => each.playbackRate === 16 && !each.paused)"
    )
    page.keyboard.press(" ")
    expect(page).to_have_url(re.compile("speed=16"))


def test_boxes_are_on_the_figure_that_is_shown(page: Page, running: Watched) -> None:
    film = wait_until(lambda: well_seen(running.site))
    opened(page, film["begin_utc_ns"] + 0.2e9)
    expect(page.get_by_role("group", name="Layers").get_by_role("button", name="motion")).to_be_visible()
    looked_at = seen_in(running.site, film["id"])
    whole: list[bool] = []
    for _ in range(40):
        stepped(page, ".")
        if picture(page).get_attribute("data-film") == film["id"] and round(film_s(page) * FPS) in looked_at:
            plain, both = map(image, page.locator(".frame").evaluate(LOOK))
            whole += outlined(plain, both, running)
    assert len(whole) >= 10
    assert sum(whole) >= 0.6 * len(whole), whole  # two that meet have one box
    page.get_by_role("group", name="Layers").get_by_role("button", name="motion").click()
    expect(page).to_have_url(re.compile("hide=motion"))
    plain, both = map(image, page.locator(".frame").evaluate(LOOK))
    assert not any(outlined(plain, both, running))


def well_seen(site: RunningSite) -> dict[str, Any] | None:
    """The newest film in most of whose frames motion has found something; its background is learnt by then."""
    newest = films(site)[:3:-1]
    return next((film for film in newest if len(seen_in(site, film["id"])) > 0.5 * film["frames"]), None)


def outlined(plain: Any, both: Any, running: Watched) -> list[bool]:
    """Whether there is a box around each figure that is wholly in the picture."""
    number = read_counter(cv2.cvtColor(plain, cv2.COLOR_BGR2GRAY))
    assert number is not None
    boxes = running.film.truth(number).boxes
    return [is_outlined(both, box) for box in boxes if 8 < box.x_px < WIDTH - 8 - box.width_px]


def seen_in(site: RunningSite, id: str) -> set[int]:
    """The frames of a film in which motion has found something, by their number in it."""
    with urlopen(f"{site.url}/api/recordings/hall/{id}/results.jsonl") as answer:
        lines = [json.loads(line) for line in answer.read().splitlines()]
    return {round(line["film_s"] * FPS) for line in lines if line["values"]["boxes"]}


def test_dragging_scrubs(page: Page, running: Watched) -> None:
    known = films(running.site)
    opened(page, known[1]["begin_utc_ns"], around(known[0], known[-1]))
    for film in (known[3], known[2]):
        x, y = place_of(page, film["begin_utc_ns"] + 1e9)
        page.mouse.move(x - 30, y)
        page.mouse.down()
        page.mouse.move(x, y, steps=5)
        expect(picture(page)).to_have_attribute("data-film", film["id"])
        page.mouse.up()
        still(page)
        assert film_s(page) == pytest.approx(1, abs=0.1)


def around(first: dict[str, Any], last: dict[str, Any]) -> str:
    """The part of an address that shows all from one film to another."""
    return f"&from={address(first['begin_utc_ns'] - 1e9)}&to={address(last['end_utc_ns'] + 1e9)}"


def test_what_is_under_the_pointer_is_shown(page: Page, running: Watched) -> None:
    known = films(running.site)
    opened(page, known[1]["begin_utc_ns"], around(known[0], known[-1]))
    page.mouse.move(*place_of(page, known[2]["begin_utc_ns"] + 1e9))
    peek = page.locator(".peek")
    expect(peek).to_contain_text("UTC")
    expect(peek.locator(".is_shown canvas")).to_be_visible()
    page.mouse.move(*place_of(page, known[0]["begin_utc_ns"] - 0.5e9))
    page.mouse.move(10, 10)
    expect(peek).to_have_count(0)
    assert film_s(page) == pytest.approx(0, abs=1 / FPS), "the large picture has stayed"


def test_zoom_and_pan_by_wheel_and_keys(page: Page) -> None:
    def length_ms() -> float:
        return span_end(page, "to") - span_end(page, "from")

    page.keyboard.press("+")
    page.wait_for_function("() => location.hash.includes('to=')")
    wait_until(lambda: length_ms() == pytest.approx(1_800_000, abs=5))
    page.keyboard.press("-")
    wait_until(lambda: length_ms() == pytest.approx(3_600_000, abs=5))
    first = span_end(page, "from")
    page.keyboard.press("ArrowRight")
    wait_until(lambda: span_end(page, "from") == pytest.approx(first + 360_000, abs=5))
    area = page.locator(".lanes").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] / 2, area["y"] + 10)
    for _ in range(60):
        page.mouse.wheel(0, -500)
    wait_until(lambda: length_ms() == pytest.approx(2000, abs=5))
    for _ in range(60):
        page.mouse.wheel(0, 500)
    wait_until(lambda: length_ms() == pytest.approx(40 * 86_400_000, rel=0.001))
    button(page, "Today").click()
    wait_until(lambda: length_ms() == 86_400_000)


def test_keys_go_to_events(page: Page, running: Watched) -> None:
    at_ms = sorted(event["at_utc_ns"] / 1e6 for event in events(running.site))[:2]
    go(page, f"#/recordings/hall?at={address(at_ms[0] * 1e6 - 5e9)}")
    for wanted in at_ms:
        page.keyboard.press("n")
        page.wait_for_function(IS_AT, arg=wanted - 1000)
    page.keyboard.press("p")
    page.wait_for_function(IS_AT, arg=at_ms[0] - 1000)
    page.keyboard.press("p")
    expect(page.get_by_text("No event before this")).to_be_visible()


def choose(page: Page, running: Watched) -> list[dict[str, Any]]:
    """By keys: the second film and the third, whole; all films that there are."""
    known = films(running.site)
    opened(page, known[1]["begin_utc_ns"], around(known[0], known[-1]))
    page.keyboard.press("i")
    x, y = place_of(page, known[2]["end_utc_ns"])
    page.mouse.click(x + 2, y)
    expect(picture(page)).to_have_attribute("data-film", known[3]["id"])
    still(page)
    page.keyboard.press("o")
    expect(page.get_by_role("region", name="Chosen time")).to_contain_text("hall")
    return known


def test_an_address_holds_the_whole_state(page: Page, running: Watched) -> None:
    choose(page, running)
    expect(page).to_have_url(re.compile(r"[?&]in=.*&out="))
    chosen = page.get_by_role("region", name="Chosen time").locator("p").first.inner_text()
    time = page.locator(".controls time").inner_text()
    page.reload()
    expect(page.locator(".controls time")).to_have_text(time)
    expect(page.get_by_role("region", name="Chosen time").locator("p").first).to_have_text(
        re.compile(r"\s*".join(map(re.escape, chosen.split())))
    )
    page.keyboard.press("Escape")
    expect(page.get_by_role("region", name="Chosen time")).to_have_count(0)


def test_a_range_is_dragged_and_exported(page: Page, running: Watched, tmp_path: Path) -> None:
    known = films(running.site)
    opened(page, known[1]["begin_utc_ns"], around(known[0], known[-1]))
    page.keyboard.down("Shift")
    page.mouse.move(*place_of(page, known[1]["begin_utc_ns"] + 0.5e9))
    page.mouse.down()
    page.mouse.move(*place_of(page, known[2]["begin_utc_ns"] + 1.5e9), steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    with page.expect_download() as waiting:
        button(page, "Export").click()
    path = tmp_path / "export.mp4"
    waiting.value.save_as(path)
    assert re.fullmatch(r"hall-\d{8}T\d{6}Z-\d{8}T\d{6}Z\.mp4", waiting.value.suggested_filename)
    with av.open(str(path)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    assert pictures == pytest.approx(3 * FPS, abs=FPS)
    expect(page.get_by_text(re.compile(r"^Exported \d+ kB of hall$"))).to_be_attached()


def test_deletion_says_how_much_and_asks(page: Page, running: Watched) -> None:
    before = choose(page, running)
    dialog = page.get_by_role("dialog")
    button(page, "Delete what is chosen").click()
    expect(dialog).to_contain_text("Delete recordings of hall?")
    expect(dialog).to_contain_text(re.compile(r"2 files, \d s, \d+ kB"))
    expect(button(page, "Keep")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    assert {each["id"] for each in before} <= {each["id"] for each in films(running.site)}
    button(page, "Delete what is chosen").click()
    dialog.get_by_role("button", name="Delete 2 files").click()
    expect(dialog).to_have_count(0)
    expect(page.get_by_text(re.compile("^Deleted 2 files, "))).to_be_attached()
    gone = {each["id"] for each in before} - {each["id"] for each in films(running.site)}
    assert gone == {before[1]["id"], before[2]["id"]}
    go(page, f"#/recordings/hall?at={address(before[2]['begin_utc_ns'] + 1e9)}")
    expect(page.get_by_text(re.compile("^Nothing is recorded of hall at"))).to_be_visible()
    button(page, "Play").click()
    expect(page.get_by_text(re.compile(r"^Skipped \d+ s without a recording$"))).to_be_visible()
    page.keyboard.press(" ")


def test_nothing_is_done_while_nothing_moves(page: Page, running: Watched) -> None:
    known = films(running.site)
    opened(
        page,
        known[0]["begin_utc_ns"],
        f"&from={address(known[0]['begin_utc_ns'])}&to={address(known[0]['end_utc_ns'])}",
    )
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    before = page.evaluate(DRAWN), picture(page).get_attribute("data-frames")
    ends = [film["id"] for film in films(running.site)]
    wait_until(
        lambda: [film["id"] for film in films(running.site)] != ends
    )  # the page has heard of a whole film
    page.wait_for_timeout(300)
    assert (page.evaluate(DRAWN), picture(page).get_attribute("data-frames")) == before
    assert [url for url in requests if "film.mp4" in url or "results.jsonl" in url] == []


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("width", [1440, 390])
def test_it_fits_and_axe_finds_nothing_grave(
    browser: Browser, running: Watched, built: Path, theme: str, width: int
) -> None:
    known = films(running.site)
    chosen = f"&in={address(known[0]['begin_utc_ns'])}&out={address(known[-1]['end_utc_ns'])}"
    where = f"#/recordings/hall?at={address(known[-1]['begin_utc_ns'])}{chosen}"
    size = {"width": width, "height": 844}
    with shown(browser, running.site.url, built, where, viewport=size, color_scheme=theme) as watched:
        expect(picture(watched.page)).to_have_attribute("data-film", known[-1]["id"])
        expect(watched.page.get_by_role("region", name="Chosen time")).to_be_visible()
        assert findings(watched.page) == []
        assert watched.page.evaluate("() => document.documentElement.scrollWidth") <= width
        button(watched.page, "Delete what is chosen").click()
        expect(watched.page.get_by_role("dialog")).to_contain_text("file")
        assert findings(watched.page) == []


def test_a_recorder_in_trouble_says_so(page: Page, running: Watched) -> None:
    asked(running.site, "/api/workers/hall-rec/parameters", "PATCH", {"reserve": "99%"})
    alert = page.get_by_role("alert").filter(has_text="hall is not recorded since")
    expect(alert).to_contain_text("free")
    asked(running.site, "/api/workers/hall-rec/parameters", "PATCH", {"reserve": "1MB"})
    expect(alert).to_have_count(0)


def test_keys_record_and_save_a_picture_of_the_tile_under_them(
    watched: WatchedPage, running: Watched
) -> None:
    page = watched.page
    wait_frames(page, "yard", 2)
    page.get_by_role("link", name="Open yard", exact=True).focus()
    page.keyboard.press("r")
    expect(page.get_by_text("Recording yard", exact=True)).to_be_attached()
    expect(named(page, "yard").get_by_text("rec", exact=False).first).to_be_visible()
    running.site.wait_worker("yard-rec", lambda worker: worker["report"]["info"]["recording"])
    expect(page.get_by_role("link", name=re.compile("Recordings.*2 cameras being recorded"))).to_be_visible()
    with page.expect_download() as waiting:
        page.keyboard.press("s")
    assert re.fullmatch(r"yard \d{4}-\d\d-\d\d \d\d-\d\d-\d\d\.jpg", waiting.value.suggested_filename)
    named(page, "yard").hover()
    button(page, "Stop recording yard").click()
    expect(page.get_by_text("Not recording yard any more")).to_be_attached()
    running.site.wait_worker("yard-rec", lambda worker: not worker["report"]["info"]["recording"])


def test_a_stream_tells_its_last_minutes(watched: WatchedPage, running: Watched) -> None:
    page = watched.page
    go(page, "#/stream/hall")
    strip = page.get_by_role("region", name="The last 10 minutes")
    expect(strip).to_contain_text(re.compile(r"[1-9]\d* events?, .*\d s recorded|[1-9]\d* events?, .* min"))
    asked(running.site, "/api/workers/motion/restart", "POST")
    asked(running.site, "/api/workers/hall/restart", "POST")
    expect(strip.locator(".lost")).to_be_attached()
    link = strip.get_by_role("link", name=re.compile("^.*motion at .*: look at it")).first
    link.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Recordings")
    expect(page).to_have_url(re.compile(r"#/recordings/hall\?at="))


def test_from_nothing_by_one_click_to_a_camera_that_is_gone(
    browser: Browser, built: Path, tmp_path: Path, runtime_dir: Path
) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(PORCH)
    with (
        running_site(file, name="porch") as site,
        shown(browser, site.url, built, "#/recordings") as watched,
    ):
        page = watched.page
        expect(page.get_by_role("heading", name="Nothing is recorded yet")).to_be_visible()
        assert findings(page) == []
        button(page, "Record porch").click()
        expect(page.get_by_text("Recording porch", exact=True)).to_be_attached()
        site.wait_worker("porch-rec", lambda worker: worker["report"]["info"]["file"])
        button(page, "Stop recording porch").click()
        expect(picture(page)).to_have_attribute("data-film", re.compile("^porch-"))
        asked(site, "/api/cameras/porch", "DELETE")
        expect(page.get_by_role("list", name="Cameras")).to_contain_text("removed")
        expect(page.get_by_role("list", name="Cameras").get_by_role("button")).to_have_count(1)
        assert watched.complaints == []
