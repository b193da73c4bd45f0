"""The explorer in a real browser, as a visitor opens it, on a tiny generator."""

import base64
import io
import threading
import time
from contextlib import contextmanager
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import complaints, find, needs_chromium, requests, resize, started, webdriver
from PIL import Image

pytest.importorskip("gradio")

from lib.exploring import uploads
from lib.exploring.looks import Look
from lib.exploring.sliders import Slider
from lib.exploring.web.serving import listen, server_of
from lib.exploring.web.session import scale_of, short_title
from lib.exploring.world import World
from lib.settings import InversionSettings
from lib.trained import open_experiment
from models.errors import UserError

pytestmark = needs_chromium
PATIENCE = 120  # seconds; far more than is needed, so that a busy machine breaks no test
RIGHT, HOME, END = "\ue014", "\ue011", "\ue010"  # WebDriver's key codes
HAT = ("a face with a hat", "a face without a hat")


@contextmanager
def served(world, port=0):
    """The address of a server of the world."""
    with listen("127.0.0.1", port) as bound:
        server = server_of(world)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{bound.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def address(shared):
    with served(shared) as found:
        yield found


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with started(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser, address):
    """The page in the only tab, freshly opened at 1280 x 900, with the logs of earlier ones read away."""
    first, *others = browser.window_handles
    for other in others:
        browser.switch_to.window(other)
        browser.close()
    browser.switch_to.window(first)
    resize(browser, 1280, 900)
    return opened(browser, address)


def opened(browser, address):
    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(address)
    until(browser, "return document.querySelector('#strip-cells')?.children.length > 0")
    return browser


def until(browser, script, *arguments):
    """What a script returns once it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := browser.execute_script(script, *arguments)):
        assert time.monotonic() < deadline, f"in vain: {script}; {message(browser)} {complaints(browser)}"
        time.sleep(0.02)
    return value


def message(browser):
    script = "return [...document.querySelectorAll('.message')].map((one) => one.textContent).join('')"
    return browser.execute_script(script).strip()


def told(browser, words):
    """The page's message, once it has these words."""
    until(browser, "return [...document.querySelectorAll('.message')].some("
                   "(one) => one.textContent.includes(arguments[0]))", words)
    return message(browser)


def slider(browser, index):
    return find(browser, f"#path-{index} input[type=range]")


def values(browser):
    """{index: value} of the sliders that are not at 0."""
    script = """return [...document.querySelectorAll('.path')].map((path) =>
        [Number(path.id.slice(5)), Number(path.querySelector('input[type=range]').value)])"""
    return {index: value for index, value in browser.execute_script(script) if value}


def move(browser, index, value):
    """Set a slider as a hand does, and wait for its picture."""
    browser.execute_script("""const input = document.querySelector(`#path-${arguments[0]} input[type=range]`);
        input.value = arguments[1]; input.dispatchEvent(new Event('input', {bubbles: true}));""", index, value)
    shown(browser)


def shown(browser):
    """Wait until the picture is that of the sliders, and remembered; its pixels (64, 64, 3)."""
    until(browser, """const state = explorer.state(); return state && !state.busy &&
        document.querySelector('#now').dataset.shifts === JSON.stringify(state.shifts)""")
    return pixels(browser)


def pixels(browser, selector="#now"):
    values = browser.execute_script("""
        const image = document.querySelector(arguments[0]), canvas = document.createElement('canvas');
        canvas.width = canvas.height = image.naturalWidth;
        const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
        return [...context.getImageData(0, 0, canvas.width, canvas.height).data];""", selector)
    side = round((len(values) / 4) ** 0.5)
    return np.array(values, np.uint8).reshape(side, side, 4)[..., :3]


def assert_shows(browser, shared, look):
    visitor = shared.visitor()
    expected = np.asarray(Image.open(io.BytesIO(visitor.picture(visitor.moved(look.reset(), look.shifts)).jpeg())))
    assert np.abs(shown(browser).astype(int) - expected).max() <= 2  # two decoders of JPEG


def link(browser):
    return Look.from_link(browser.execute_script("return location.hash"))


def new_tab(browser, address):
    browser.switch_to.new_window("tab")
    return opened(browser, address)


def test_only_its_own_address_is_asked_and_nothing_complains(page, address):
    move(page, 0, 1.0)
    assert {url.split("/")[2] for url in requests(page) if url.startswith("http")} == {address.split("/")[2]}
    assert complaints(page) == []


def test_drag_of_a_slider_shows_the_picture_of_its_shift(page, shared):
    at_start = shown(page)
    assert_shows(page, shared, shared.look(0))
    webdriver.ActionChains(page).drag_and_drop_by_offset(slider(page, 0), 90, 0).perform()
    assert values(page)[0] > 0.3
    assert np.abs(shown(page).astype(int) - at_start).max() > 20
    assert_shows(page, shared, shared.look(0).moved({shared.sliders[0].id: values(page)[0]}))
    assert "towards “a happy face”" in find(page, "#now").get_attribute("alt")


def test_keys_move_a_slider_and_its_two_sentences_say_where_to(page):
    slider(page, 0).send_keys(RIGHT, RIGHT)
    shown(page)
    step = float(slider(page, 0).get_attribute("step"))
    assert values(page) == {0: pytest.approx(2 * step)}
    poles = find(page, "#path-0 .poles")
    assert find(poles, ".left").text == "a sad face" and find(poles, ".right").text == "a happy face"
    assert slider(page, 0).get_attribute("ariaLabel").endswith("a sad face → a happy face")
    assert find(page, "#path-2 .poles").text.split() == ["−", "Z", "0", "+"]


def test_sliders_combine_in_any_order(page):
    for index, value in ((0, 1.5), (2, 1.0), (5, -0.5)):
        move(page, index, value)
    one = shown(page)
    find(page, "#reset").click()
    until(page, "return Object.keys(explorer.state().shifts).length === 0")
    shown(page)
    assert values(page) == {}
    for index, value in ((5, -0.5), (0, 1.5), (2, 1.0)):
        move(page, index, value)
    assert (shown(page) == one).all()


def test_reset_button_of_a_slider(page):
    move(page, 0, 0.96)
    move(page, 2, 0.96)
    find(page, "#path-0 .reset-button").click()
    until(page, "return Object.keys(explorer.state().shifts).length === 1")
    shown(page)
    assert values(page) == {2: 0.96}


def test_seed_and_new_portrait_and_back_and_forward(page, shared):
    first = shown(page)
    box = find(page, "#seed input")
    box.clear()
    box.send_keys("7", "\ue007")
    until(page, "return explorer.state().start.seed === 7")
    assert_shows(page, shared, shared.look(7))
    find(page, "#new").click()
    until(page, "return explorer.state().start.seed !== 7")
    assert box.get_attribute("value") == str(page.execute_script("return explorer.state().start.seed"))
    for _ in range(2):
        until(page, "return !document.querySelector('#back').disabled && !explorer.state().busy")
        find(page, "#back").click()
        shown(page)
    until(page, "return explorer.state().start.seed === 0 && document.querySelector('#back').disabled")
    assert (shown(page) == first).all()
    find(page, "#forward").click()
    until(page, "return explorer.state().start.seed === 7 && document.querySelector('#seed input').value === '7'")
    assert_shows(page, shared, shared.look(7))


def test_wrong_seed_is_told(page):
    box = find(page, "#seed input")
    box.clear()
    box.send_keys("99999999999", "\ue007")
    assert "A seed is a whole number" in told(page, "whole number")


def test_link_restores_the_setting_exactly_in_another_tab(page):
    move(page, 0, 1.25)
    move(page, 6, -0.4)
    until(page, "return location.hash.startsWith('#look=')")
    before, address = shown(page), page.current_url
    other = new_tab(page, address)
    until(other, "return Object.keys(explorer.state().shifts).length === 2")
    assert (shown(other) == before).all()
    assert values(other) == {0: pytest.approx(1.25, abs=0.04), 6: pytest.approx(-0.4, abs=0.04)}
    assert link(other).shifts == {key: pytest.approx(value) for key, value in link(other).shifts.items()}


def test_link_restores_a_slider_at_its_end(page):
    until(page, "return location.hash.startsWith('#look=')")
    address = page.current_url
    slider(page, 0).send_keys(END)
    until(page, f"return location.href !== '{address}'")
    before, box = shown(page), "return document.querySelector('#path-0 input[type=number]').value"
    assert values(page) == {0: 3.2} and page.execute_script(box) == "3.2"
    assert list(link(page).shifts.values()) == [3.2]
    other = new_tab(page, page.current_url)
    until(other, "return Object.keys(explorer.state().shifts).length === 1")
    assert (shown(other) == before).all() and values(other) == {0: 3.2} and other.execute_script(box) == "3.2"


def test_damaged_link_is_told_and_changes_nothing(page, address):
    other = new_tab(page, address + "#look=nonsense")
    assert "link" in told(other, "link")
    assert values(other) == {}


def test_two_tabs_do_not_see_each_other(page, address):
    first = page.current_window_handle
    move(page, 0, 0.96)
    one = shown(page)
    other = new_tab(page, address)
    assert values(other) == {}
    move(other, 1, -1.0)
    say(other, *HAT)
    page.switch_to.window(first)
    assert values(page) == {0: 0.96} and (shown(page) == one).all()
    assert page.execute_script("return document.querySelectorAll('.own[data-taken]').length") == 0


def say(browser, first, second):
    for name, sentence in (("first", first), ("second", second)):
        box = find(browser, f"#{name} textarea, #{name} input")
        box.clear()
        box.send_keys(sentence)
    find(browser, "#say").click()


def test_two_sentences_get_a_slider(page, shared):
    at_start = shown(page)
    say(page, *HAT)
    until(page, "return document.querySelector('.own[data-taken] .poles .right')?.textContent.includes('hat')")
    own = len(shared.sliders)
    assert slider(page, own).get_attribute("ariaLabel").endswith("a face without a hat → a face with a hat")
    assert page.switch_to.active_element == slider(page, own)
    slider(page, own).send_keys(END)
    until(page, "return Object.keys(explorer.state().shifts).length === 1")
    assert np.abs(shown(page).astype(int) - at_start).max() > 20
    (sentences,) = link(page).sentences
    assert (sentences.first, sentences.second) == HAT
    again, before = page.current_url, shown(page)
    other = new_tab(page, again)
    until(other, "return Object.keys(explorer.state().shifts).length === 1")
    assert (shown(other) == before).all()


@pytest.mark.parametrize("high, step", [(3.52, 0.08), (3.2, 0.08), (5.0, 0.1), (0.93, 0.0186), (113.0, 2.26)])
def test_slider_ends_after_a_whole_number_of_steps(high, step):
    assert scale_of(Slider("id", "a", "b", high, "W", "method")) == (high, step)
    assert high / step == pytest.approx(round(high / step), abs=1e-9)


@pytest.mark.parametrize("first, second, short", [
    ("a photo of a person with glasses.", "a photo of a person without glasses.", "without glasses → with glasses"),
    ("a photo of a bald man.", "a photo of a man with hair.", "man with hair → bald man"),
    ("Z 0", "", "Z 0"),
])
def test_choices_leave_out_what_sentences_share(first, second, short):
    assert short_title(Slider("id", first, second, 1.0, "W", "method")) == short


def test_removed_slider_leaves_the_look(page):
    at_start = shown(page)
    say(page, *HAT)
    until(page, "return document.querySelector('.own[data-taken]')")
    find(page, ".own[data-taken] input[type=range]").send_keys(END)
    shown(page)
    find(page, ".own[data-taken] .poles button:last-child").click()
    until(page, "return !document.querySelector('.own[data-taken]')")
    assert (shown(page) == at_start).all()


@pytest.mark.parametrize("sentences", [("a face", "a face"), ("", "a face"), ("a face " * 200, "a cat")])
def test_sentences_that_cannot_be_used_are_told(page, sentences):
    page.execute_script("explorer.say(arguments[0], arguments[1])", *sentences)
    error = until(page, "return document.querySelector('#sentences-message[role=alert] .error')")
    page.execute_script("arguments[0].scrollIntoView({block: 'nearest'})", find(page, "#say"))
    assert error.text and abs(error.rect["y"] - find(page, "#say").rect["y"]) < 100
    assert not page.find_elements("css selector", ".own[data-taken]")
    move(page, 0, 0.6)  # it goes on


def test_refining_shows_how_far_it_is_and_can_be_stopped(page, address):
    say(page, *HAT)
    until(page, "return document.querySelector('.own[data-taken]')")
    find(page, ".own[data-taken] .poles button").click()
    until(page, "return document.querySelector('#doing').textContent.match(/refining: iteration.* %\\)$/)")
    assert find(page, "#work").is_displayed()
    move(page, 0, 0.6)  # meanwhile
    page.refresh()
    until(page, "return document.querySelector('#doing')?.textContent.includes('refining')")  # it still goes on
    find(page, "#stop").click()
    until(page, "return document.querySelector('#work').hidden")
    assert len(page.find_elements("css selector", ".own[data-taken]")) == 1


def test_own_slider_is_kept_as_an_experiment(page, shared):
    say(page, *HAT)
    until(page, "return document.querySelector('.own[data-taken]')")
    find(page, ".own[data-taken] .poles button:nth-of-type(2)").click()
    page.switch_to.alert.send_keys("hat-1")
    page.switch_to.alert.accept()
    directory = told(page, "Saved").partition("--exp=")[2]
    assert open_experiment(directory).labels == [HAT]


def drop(browser, content, name):
    """Let a file fall on the picture."""
    browser.execute_script("""
        const content = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([content], arguments[1]));
        document.querySelector("#stage").dispatchEvent(new DragEvent("drop", {dataTransfer: data, bubbles: true}));""",
        base64.b64encode(content).decode(), name)  # fmt: skip


def test_dropped_picture_is_inverted_and_edited(page, shared, monkeypatch):
    settings = InversionSettings(stylegan_space="W+", steps=3, samples=8)
    monkeypatch.setattr(uploads, "search_settings", lambda generator: settings)
    visitor = shared.visitor()
    drop(page, visitor.picture(shared.look(1)).png(), "me.png")
    until(page, "return explorer.state().start.seed === null")
    inverted = shown(page)
    assert find(page, "#original").is_displayed() and "distance" in find(page, "#inversion-note").text
    assert find(page, "#caption").text.startswith("Your picture")
    move(page, 0, 1.8)
    assert np.abs(shown(page).astype(int) - inverted).max() > 20
    again, edited = page.current_url, shown(page)
    other = new_tab(page, again)
    until(other, "return Object.keys(explorer.state().shifts).length === 1")
    assert (shown(other) == edited).all()


@pytest.mark.parametrize("content, name", [(b"plain text", "notes.txt"), (b"", "empty.png"), (b"PK", "code.pt")])
def test_what_is_no_picture_is_told(page, content, name):
    at_start = shown(page)
    drop(page, content, name)
    assert until(page, "return document.querySelector('#picture-message[role=alert] .error')").text
    assert (shown(page) == at_start).all()


def test_comparing_by_a_divider_and_by_a_held_key(page):
    at_start = shown(page)
    move(page, 0, 2.0)
    find(page, "#compare").click()
    until(page, "return document.querySelector('#before').naturalWidth > 0")
    assert find(page, "#before").is_displayed() and (pixels(page, "#before") == at_start).all()
    divider = find(page, "#divider")
    webdriver.ActionChains(page).drag_and_drop_by_offset(divider, -80, 0).perform()
    dragged = int(divider.get_attribute("aria-valuenow"))
    assert 20 < dragged < 45
    divider.send_keys(RIGHT)
    assert int(divider.get_attribute("aria-valuenow")) == dragged + 2
    find(page, "#compare").click()
    assert not find(page, "#before").is_displayed()
    webdriver.ActionChains(page).click(find(page, "h1")).key_down("b").perform()
    until(page, "return document.querySelector('#pictures').classList.contains('held')")
    assert find(page, "#before").is_displayed()
    webdriver.ActionChains(page).key_up("b").perform()
    assert not find(page, "#before").is_displayed()


def test_locked_look_is_what_is_compared_with(page):
    move(page, 0, 2.0)
    locked = shown(page)
    find(page, "#lock").click()
    until(page, "return document.querySelector('#lock').getAttribute('aria-pressed') === 'true'")
    move(page, 1, -2.0)
    find(page, "#compare").click()
    until(page, "return document.querySelector('#before').alt.includes('locked')")
    assert (pixels(page, "#before") == locked).all()


def test_bars_show_what_the_judge_reads_before_and_now(page, shared):
    move(page, 0, 2.0)
    until(page, "return document.querySelectorAll('#bars tbody tr').length === 3")
    look = shared.look(0).moved({shared.sliders[0].id: 2.0})
    expected = shared.visitor().numbers(look)
    script = """return [...document.querySelectorAll('#bars tbody tr')].map(
        (row) => [...row.cells].map((cell) => cell.textContent))"""
    until(page, "return document.querySelector('#bars tbody .number').textContent === arguments[0]",
          f"{expected[0].now - expected[0].before:+.2f}".replace("-", "−"))
    for row, number in zip(page.execute_script(script), expected):
        assert row[0] == number.name and row[1] == f"{number.before:.2f} before, {number.now:.2f} now"


def test_bar_beyond_the_range_ends_in_an_arrow_and_its_number_is_shown(page):
    until(page, "return document.querySelectorAll('#bars tbody tr').length === 3")
    rows = page.execute_async_script("""const done = arguments[0];
        import("/explorer/static/figures.js").then(({showNumbers}) => {
          const numbers = [["age", 0.2, 0.6], ["glasses", 0.2, 1.19], ["smile", 0.5, -0.1]];
          showNumbers(numbers.map(([name, before, now]) => ({name, unit: "", before, now})), ["smile", null]);
          done([...document.querySelectorAll("#bars tbody tr")].map((row) => [row.cells[0].textContent,
            row.querySelector(".is").className, row.querySelector("small")?.textContent ?? null]));
        });""")
    assert rows == [["smile", "is below", "to −0.10"], ["age", "is", None], ["glasses", "is above", "to 1.19"]]


@pytest.mark.parametrize("width, height", [(900, 600), (1600, 600)])
def test_picture_stays_in_sight_at_the_lowest_slider(page, width, height):
    resize(page, width, height)
    page.execute_script("document.querySelector('#say').scrollIntoView({block: 'end'})")
    assert page.execute_script("return scrollY") > 100
    box = page.execute_script("return document.querySelector('#pictures').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= height


def test_click_on_the_film_strip_goes_there(page):
    cells = page.find_elements("css selector", "#strip-cells button")
    assert len(cells) == 9 and cells[4].get_attribute("aria-current") == "true"
    cells[7].click()
    shown(page)
    limit = 3.2
    assert values(page) == {0: pytest.approx(limit * 0.75, abs=0.04)}
    until(page, "return document.querySelectorAll('#strip-cells button')[7].getAttribute('aria-current') === 'true'")


def test_grid_of_two_sliders(page):
    find(page, "#grid button").click()
    until(page, "return document.querySelector('#show-grid')")
    find(page, "#show-grid").click()
    until(page, "return document.querySelectorAll('#grid-cells button').length === 25")
    page.execute_script("document.querySelectorAll('#grid-cells button')[0].click()")
    shown(page)
    assert set(values(page)) == {0, 1} and values(page)[0] < 0 < values(page)[1]


def downloaded(browser, press, folder):
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
    find(browser, press).click()
    deadline = time.monotonic() + PATIENCE
    while not (files := [file for file in folder.iterdir() if not file.name.endswith(".crdownload")]):
        assert time.monotonic() < deadline, message(browser)
        time.sleep(0.05)
    return files[0]


def test_downloads(page, shared, tmp_path):
    import torch

    move(page, 0, 0.96)
    look = shared.look(0).moved({shared.sliders[0].id: 0.96})
    found = {}
    for press in ("png", "gif", "code", "json"):
        (tmp_path / press).mkdir()
        found[press] = downloaded(page, f"#{press}", tmp_path / press)
    visitor = shared.visitor()
    assert (np.asarray(Image.open(found["png"])) == visitor.picture(look).pixels).all()
    assert Image.open(found["gif"]).n_frames == 64
    assert torch.equal(torch.load(found["code"]), torch.load(io.BytesIO(visitor.code_file(look))))
    assert Look.from_json(found["json"].read_bytes()) == look


def test_setting_is_opened_from_a_file(page, shared, tmp_path):
    look = shared.look(5).moved({shared.sliders[1].id: -1.5})
    (tmp_path / "setting.json").write_text(look.to_json())
    find(page, "#setting-file").send_keys(str(tmp_path / "setting.json"))
    until(page, "return explorer.state().start.seed === 5")
    assert_shows(page, shared, look)
    (tmp_path / "other.json").write_text("[1, 2]")
    find(page, "#setting-file").send_keys(str(tmp_path / "other.json"))
    assert "not a look" in told(page, "not a look")


def test_explorer_that_was_started_again_shows_what_was_seen(page, shared):
    with served(shared) as address:
        opened(page, address)
        move(page, 0, 1.6)
        until(page, "return location.hash.startsWith('#look=')")
        before = shown(page)
    page.execute_script("explorer.newStart()")
    assert "does not answer" in told(page, "does not answer")
    with served(shared, urlsplit(address).port):
        page.execute_script("window.isOld = true; explorer.newStart()")
        until(page, "return !window.isOld && window.explorer && explorer.state() && explorer.state().start.seed === 0"
                    " && Object.values(explorer.state().shifts)[0] === 1.6")
        assert (shown(page) == before).all()


@pytest.mark.parametrize("width, height", [(420, 900), (900, 1000), (1600, 1000)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_window(browser, page, address, width, height, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    try:
        resize(browser, width, height)
        opened(browser, address)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground[4:-1].split(","))) < 200) == (scheme == "dark")
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_everything_that_can_be_used_has_a_name(page):
    nameless = page.execute_script("""
        const shown = [...document.querySelectorAll('button, input, textarea, [role=slider], [role=combobox], img')]
          .filter((element) => element.getClientRects().length);
        const name = (element) => element.ariaLabel || element.alt || element.textContent.trim() || element.title
          || element.labels?.[0]?.textContent.trim();
        return shown.filter((element) => !name(element)).map((element) => element.outerHTML);""")
    assert nameless == []


def test_missing_clip_leaves_the_sliders(page, address, shared, monkeypatch):
    monkeypatch.setattr(World, "sentences_missing", property(lambda _: "the weights of the CLIP are not here"))
    other = new_tab(page, address)
    assert "the weights of the CLIP are not here" in find(other, "#sentences-note").text
    say(other, *HAT)
    assert "not here" in told(other, "not here")
    move(other, 0, 1.0)


def test_error_of_the_server_is_told_and_it_goes_on(page, shared, monkeypatch):
    def fail(*_):
        raise UserError("this cannot be drawn: try another one")

    with monkeypatch.context() as patch:
        patch.setattr(type(shared.renderer), "picture", fail)
        page.execute_script("explorer.move(0, 1.0)")
        assert "cannot be drawn" in told(page, "cannot be drawn")
    move(page, 0, 0.5)
