"""The gallery in a real browser, from file://, as a reader opens it."""

import io
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from browser import complaints, find, needs_chromium, requests, resize, started, webdriver
from PIL import Image

from lib.files import write_json
from lib.pages.gallery import write_html
from lib.pages.results import Results
from lib.pages.single_file import write_single_file
from lib.walking.pictures import save_film, save_gif, save_jpeg, save_strip

pytestmark = needs_chromium
RIGHT, HOME, END = "\ue014", "\ue011", "\ue010"  # WebDriver's key codes
FRAMES, START = 9, 4
DIPOLES = [(f"a <big> disc & \"{k}\" rather long to read.", f"a small disc, 'n' {k}.") for k in range(2)]


def build(folder, labels=DIPOLES, codes=3, gifs=True, strip_frames=5, film=False):
    """A results folder of synthetic 48 pixel frames: a disc that grows along the path, on a colour of its own.

    film: whether paths have a film, with which they need no other pictures."""
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    hashes = [f"{code + 10:040x}" for code in range(codes)]
    for code, name in enumerate(hashes):
        ground = np.array([200 - 40 * code, 160, 90 + 50 * code])
        frames = np.stack([np.where((np.hypot(x, y) < 0.2 + 0.08 * i)[..., None], 240, ground) for i in range(FRAMES)])
        frames = frames.astype(np.uint8)
        save_jpeg(frames[START], folder / name / "original_image.jpg")
        for k in range(len(labels)):
            if film:
                save_film(frames, folder / name / "paths_strips" / f"path_{k:03d}_film.jpg")
                continue
            for i, frame in enumerate(frames):
                save_jpeg(frame, folder / name / "paths_images" / f"path_{k:03d}" / f"{i:06d}.jpg")
            if strip_frames:
                save_strip(frames, folder / name / "paths_strips" / f"path_{k:03d}_strip.jpg", strip_frames, 48)
            if gifs:
                save_gif(frames, folder / name / "paths_strips" / f"path_{k:03d}.gif", 48, 10)
    results = Results(experiment="ContraCLIP_stylegan2-W-K2-D128-eps0.1_0.2-nonlinear_beta-0.75-contrastive_0.5-discs",
                      pool="pool", labels=labels, codes=hashes, frames_per_path=FRAMES, eps=0.15, gifs=gifs,
                      strip_frames=strip_frames, films=hashes if film else [], fps=50, cells=5)
    write_html(results, folder / "index.html")
    return (folder / "index.html").as_uri()


def build_alone(folder, away):
    """The same with films and an evaluation, as one file, moved away from all others. Returns its address."""
    walk = folder / "exp" / "results" / "pool" / "8_0.15_1.2"
    build(walk, film=True)
    codes = sorted(path.name for path in walk.iterdir() if path.is_dir())
    for code in codes:
        write_json({"shift_steps": START, "eps": 0.15, "film": True}, walk / code / "settings.json")
    figures = {name: {"value": value} for name, value in (("own_effect", 0.71), ("leak", 0.25), ("stray", 0.125))}
    entry = {"path": 0, "label": DIPOLES[1], "own": "disc", "sign": 1, "strongest_other": "hue", "figures": figures}
    write_json({"format": 1, "judge": {"name": "judge"}, "pool": "pool", "codes": 2, "paths": [entry]},
               walk / "evaluation" / "summary.json")  # fmt: skip
    told = []
    written = write_single_file(walk, DIPOLES, codes, lambda *said: told.append((*said, said[0].exists())))
    assert [(file, existed) for file, _, existed in told] == [(written, False)]
    assert told[0][1] < written.stat().st_size < told[0][1] + 30_000  # besides pictures: the page itself
    shutil.move(written, away / "mailed.html")
    shutil.rmtree(folder)
    return (away / "mailed.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module", params=["frames", "film"])
def address(request, tmp_path_factory):
    return build(tmp_path_factory.mktemp("results"), film=request.param == "film")


@pytest.fixture
def page(browser, address):
    """The page, freshly opened at 1280 x 900, with the logs of earlier ones read away."""
    resize(browser, 1280, 900)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(address)
    return browser


def connect(browser, online):
    browser.execute_cdp_cmd("Network.emulateNetworkConditions",
                            {"offline": not online, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})


def scroll_through(browser):
    """Scroll down in steps so that every lazy picture loads; the sources of those that did not."""
    return browser.execute_async_script("""
        const done = arguments[0], shown = [...document.images].filter(image => image.getClientRects().length);
        (async () => {
          for (const image of shown) {
            image.scrollIntoView({behavior: "instant", block: "center"});
            for (let i = 0; i < 40 && !image.naturalWidth; i++) await new Promise(after => setTimeout(after, 25));
          }
          done(shown.filter(image => !image.naturalWidth).map(image => image.src));
        })();""")


def shown_frames(browser, section="path_000"):
    """The number of the frame that each card of a section shows."""
    sources = browser.execute_script("return [...document.querySelectorAll(`#${arguments[0]} .frame`)]"
                                     ".map(shown => shown.src ?? shown.dataset.shown ?? start)", section)
    return [int(Path(str(source)).stem) for source in sources]


def disc(browser, selector, cells=1, cell=0):
    """The share of an element's width that the bright disc has across its middle, of one of `cells` side by side."""
    pixels = np.asarray(Image.open(io.BytesIO(find(browser, selector).screenshot_as_png)).convert("RGB"), float)
    middle = np.array_split(pixels[len(pixels) // 2], cells)[cell]
    return (np.abs(middle - 240).max(axis=1) < 20).mean()


def disc_of(i):
    return 0.2 + 0.08 * i


def test_every_picture_loads_and_nothing_comes_from_a_network(page):
    assert scroll_through(page) == []
    assert complaints(page) == []
    urls = requests(page)
    kinds = {Path(url).stem.rpartition("_")[2] + Path(url).suffix for url in urls if "paths_strips" in url}
    assert kinds in ({"film.jpg"}, {"strip.jpg", "000.gif", "001.gif"})
    assert not [url for url in urls if not url.startswith(("file:", "data:"))]


def test_a_single_file_shows_everything_and_asks_for_nothing(browser, tmp_path):
    (tmp_path / "folder").mkdir()
    address = build_alone(tmp_path / "folder", tmp_path)
    resize(browser, 1280, 900)
    browser.get_log("browser"), browser.get_log("performance")
    connect(browser, False)
    browser.get(address)
    try:
        for section in ("path_000", "path_001"):
            assert scroll_to(browser, f"#{section} .card:last-child")
            assert scroll_to(browser, f"#{section} .card")
            for keys, frame in [("", START), (HOME, 0), (END, FRAMES - 1)]:
                find(browser, f"#{section} .card input").send_keys(keys)
                assert disc(browser, f"#{section} .card .frame") == pytest.approx(disc_of(frame), abs=0.04)
        measured = [one.text for one in browser.find_elements("css selector", ".measured")]
        assert len(measured) == 1 and find(browser, "#path_001 .measured").text == measured[0]
        assert measured[0].startswith("disc + moves by 0.71 of its range, leak 0.25 (hue), stray 0.125")
        assert {Path(url).name for url in requests(browser) if not url.startswith("data:")} == {"mailed.html"}
        links = browser.execute_script("return [...document.links].map(a => a.href)")
        assert all(link.startswith((address + "#", "data:image/jpeg;base64,/9j/")) for link in links)
        sides = browser.execute_async_script("""
            const pictures = [...document.querySelectorAll("[download]")]
                             .map(link => Object.assign(new Image(), {src: link.href}));
            Promise.all(pictures.map(p => p.decode())).then(() => arguments[0](pictures.map(p => p.naturalWidth)));""")
        assert sides == [48] * 6
        assert complaints(browser) == []
    finally:
        connect(browser, True)


def test_pictures_far_below_wait_to_be_reached(browser, tmp_path):
    address = build(tmp_path, [*DIPOLES, *DIPOLES], codes=24)
    resize(browser, 375, 700)
    browser.get(address)
    loaded = browser.execute_script("return [...document.images].map(image => image.naturalWidth > 0)")
    assert not any(loaded[-20:])
    browser.get(build(tmp_path, [*DIPOLES, *DIPOLES], codes=24, film=True))
    assert scroll_to(browser, "#path_000 .card") and not shown_film(browser, "#path_003 .card:last-child")


def test_a_slider_moves_its_own_card_by_keyboard(page):
    slider = find(page, ".card input")
    assert shown_frames(page) == [START] * 3
    slider.send_keys(RIGHT, RIGHT)
    assert shown_frames(page) == [START + 2, START, START]
    assert find(page, ".card output").text == "+2 · shift +0.3"
    assert slider.get_attribute("aria-valuetext").startswith("2 steps towards “a <big> disc")
    slider.send_keys(HOME)
    assert shown_frames(page) == [0, START, START]
    assert slider.get_attribute("aria-valuetext") == "4 steps towards “a small disc, 'n' 0.”"
    slider.send_keys(*[RIGHT] * START)
    assert find(page, ".card output").text == "start image"
    assert scroll_through(page) == [] and complaints(page) == []


def scroll_to(browser, selector):
    """Scroll to a card and wait for its film; whether it came."""
    browser.execute_script("document.querySelector(arguments[0]).scrollIntoView({behavior: 'instant'})", selector)
    deadline = time.monotonic() + 20
    while not shown_film(browser, selector) and time.monotonic() < deadline:
        time.sleep(0.02)
    return shown_film(browser, selector)


def shown_film(browser, selector):
    return browser.execute_script("return document.querySelector(arguments[0]).film?.complete ?? false", selector)


def test_a_film_shows_the_frame_of_the_slider_its_strip_and_its_animation(browser, tmp_path):
    resize(browser, 1280, 900)
    browser.get(build(tmp_path, DIPOLES[:1], codes=2, film=True))
    assert scroll_to(browser, ".card")
    assert disc(browser, ".card .frame") == pytest.approx(disc_of(START), abs=0.04)
    slider = find(browser, ".card input")
    for keys, frame in [(HOME, 0), (RIGHT, 1), (END, FRAMES - 1)]:
        slider.send_keys(keys)
        assert disc(browser, ".card .frame") == pytest.approx(disc_of(frame), abs=0.04)
    for cell, frame in enumerate([0, 2, 4, 6, 8]):
        assert disc(browser, ".card .strip", 5, cell) == pytest.approx(disc_of(frame), abs=0.06)
    seen = browser.execute_async_script("""
        const done = arguments[0], seen = [];
        const timer = setInterval(() => {
          seen.push(Number(document.querySelector(".animation canvas").dataset.shown));
          if (new Set(seen).size === frames || seen.length > 2000) { clearInterval(timer); done(seen); }
        }, 5);""")
    assert set(seen) == set(range(FRAMES))  # it goes through all of them
    assert complaints(browser) == []


def test_a_slider_fetches_its_path_on_first_touch(browser, tmp_path):
    page = browser
    page.get(build(tmp_path, DIPOLES[:1]))
    requests(page)
    find(page, ".card input").send_keys(RIGHT)
    page.execute_async_script("Promise.all(document.querySelector('.card').preloaded.map(i => i.decode()))"
                              ".then(arguments[0])")
    assert {Path(url).stem for url in requests(page)} >= {f"{i:06d}" for i in range(FRAMES) if i != START}


def test_move_all_moves_its_section_alone(page):
    slider = find(page, "#path_001 .all input")
    slider.send_keys(END)
    assert shown_frames(page, "path_001") == [FRAMES - 1] * 3
    assert shown_frames(page, "path_000") == [START] * 3
    values = page.execute_script("return [...document.querySelectorAll('#path_001 .card input')].map(s => s.value)")
    assert values == [str(FRAMES - 1)] * 3


def test_a_click_on_a_strip_picks_that_frame(page):
    assert scroll_through(page) == []
    page.execute_script("document.querySelector('.strip').scrollIntoView({behavior: 'instant', block: 'center'})")
    strip = find(page, ".strip")
    for cell, frame in [(0, 0), (3, 6), (4, FRAMES - 1)]:
        offset = round(strip.size["width"] * ((cell + 0.5) / 5 - 0.5))
        webdriver.ActionChains(page).move_to_element_with_offset(strip, offset, 0).click().perform()
        assert shown_frames(page)[0] == frame


def test_every_slider_says_what_it_is(page):
    labels = page.execute_script("return [...document.querySelectorAll('input')].map(s => s.ariaLabel)")
    assert len(labels) == len(set(labels)) == 2 * (3 + 1)
    assert all("a small disc, 'n'" in label and "a <big> disc &" in label for label in labels)


@pytest.mark.parametrize("options", [
    {},
    {"codes": 1},
    {"codes": 1, "film": True},
    {"film": True},
    {"labels": DIPOLES[:1], "gifs": False, "strip_frames": 0},
    {"labels": ["direction 0", "a_name_without_a_space_that_is_longer_than_a_phone_is_wide", *DIPOLES[:1]]},
])
def test_a_phone_never_scrolls_sideways(browser, tmp_path, options):
    resize(browser, 375, 700)
    browser.get(build(tmp_path, **options))
    assert scroll_through(browser) == []
    assert browser.execute_script("return document.documentElement.scrollWidth") == 375
    assert complaints(browser) == []


def test_what_was_not_made_is_not_shown(browser, tmp_path):
    browser.get(build(tmp_path, DIPOLES[:1], codes=1, gifs=False, strip_frames=0))
    assert browser.find_elements("css selector", ".animation, .strip, nav, .all") == []
    find(browser, ".card input").send_keys(RIGHT)
    assert shown_frames(browser) == [START + 1]
    assert complaints(browser) == []


def test_a_path_with_a_single_name_says_in_which_direction_it_went(browser, tmp_path):
    resize(browser, 1280, 900)
    browser.get(build(tmp_path, ["direction 0", DIPOLES[0]]))
    slider = find(browser, "#path_000 .card input")
    assert slider.get_attribute("ariaLabel") == "Code 1, along direction 0"
    slider.send_keys(RIGHT, RIGHT)
    assert slider.get_attribute("aria-valuetext") == "2 steps in the positive direction"
    assert find(browser, "#path_000 .card output").text == "+2 · shift +0.3"
    find(browser, "#path_000 .all input").send_keys(HOME)
    assert slider.get_attribute("aria-valuetext") == "4 steps in the negative direction"
    assert shown_frames(browser, "path_000") == [0] * 3 and shown_frames(browser, "path_001") == [START] * 3
    assert find(browser, "nav a").text == "direction 0"
    assert find(browser, "#path_000 h2").text.split("\n") == ["negative", "direction 0", "positive"]
    assert complaints(browser) == []
