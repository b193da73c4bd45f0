"""The explorer in Chromium: how long a slider's move takes to its new picture, and two sentences to their slider.

    python -m scripts.bench.exploring
    python -m scripts.bench.exploring --moves 200 -- --exp=latest

What stands after `--` is what explore.py opens (default: the portraits and their paths in closed form, which it
measures for a minute or two if it never has). Everything is timed in the page, in a real browser without a window:

- moves: single presses of an arrow key on sliders in turn, from the event of the slider to the frame after the one in
  which the new picture has been set and decoded. Half of them come while the last look is judged and its film strip
  made, as a hand's do. Beside them stands the processor time, of the server and of the browser, of moves that follow
  each other at once: on a machine that others use, the clock says little;
- a drag: the pointer moves along a slider 60 times a second, and stale pictures are dropped; how old the moves are
  whose pictures are shown, and how many pictures a second these are;
- sentences: from pressing the button to the slider, of sentences that have not been said before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PORTRAITS = ["--gan=stylegan2_portraits64", "--corpus=attributes"]
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
RIGHT, LEFT = "\ue014", "\ue012"  # WebDriver's key codes
PATIENCE = 60  # seconds
SENTENCES = [("a photo of a face with a big nose.", "a photo of a face with a small nose."),
             ("a photo of a person with red hair.", "a photo of a person with black hair."),
             ("a photo of a person with glasses.", "a photo of a person without glasses.")]

# Notes when each slider's events came, and when the picture of its shift was on the screen.
WATCHING = """
const told = window.told = {moved: [], shown: []};
document.addEventListener("input", (event) => {
  if (event.target.type !== "range") return;
  const at = event.timeStamp;
  // after the page's own listeners, so that the look is the one that this event has made
  setTimeout(() => told.moved.push([JSON.stringify(explorer.state().shifts), at]));
}, true);
new MutationObserver(() => {
  const shifts = document.querySelector("#now").dataset.shifts;
  requestAnimationFrame(() => requestAnimationFrame(() => told.shown.push([shifts, performance.now()])));
}).observe(document.querySelector("#now"), {attributes: true, attributeFilter: ["data-shifts"]});
"""

# The milliseconds from the last event to its picture, once it is there.
ONE_MOVE = """
const done = arguments[0];
(function look() {
  const moved = told.moved.at(-1), shown = moved && told.shown.find(([shifts]) => shifts === moved[0]);
  if (shown) done(shown[1] - moved[1]);
  else setTimeout(look, 20);
})();
"""

# Drags along a slider by events of the pointer's kind, at 60 Hz: WebDriver's own are slower than a hand.
DRAGGING = """
const [seconds, done] = arguments, input = document.querySelector("#path-0 input[type=range]");
const began = performance.now(), limit = Number(input.max);
const timer = setInterval(() => {
  const passed = (performance.now() - began) / 1000;
  if (passed > seconds) {
    clearInterval(timer);
    setTimeout(done, 2000);
    return;
  }
  input.value = limit * Math.sin(2 * passed);
  input.dispatchEvent(new Event("input", {bubbles: true}));
}, 1000 / 60);
"""


def parse(arguments):
    parser = argparse.ArgumentParser(prog="python -m scripts.bench.exploring", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=200, help="single moves (default: 200)")
    parser.add_argument("--drag", type=float, default=10, help="seconds of dragging (default: 10)")
    parser.add_argument("--port", type=int, default=7870)
    parser.add_argument("opened", nargs="*", metavar="ARGUMENT", help="of explore.py, after --")
    return parser.parse_args(arguments)


@contextmanager
def explorer(arguments, port):
    """(the address of explore.py, which runs with these arguments, its process id)."""
    command = [sys.executable, str(REPOSITORY / "explore.py"), f"--port={port}", *arguments]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            if not line:
                sys.exit(process.wait())
            yield line.split()[1], process.pid
        finally:
            process.terminate()


@contextmanager
def browser():
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
        driver.set_window_size(1280, 900)
        driver.set_script_timeout(PATIENCE)
        try:
            yield driver
        finally:
            driver.quit()


def until(driver, script, *arguments):
    """What a script returns once it is true."""
    deadline = time.monotonic() + PATIENCE
    while not (value := driver.execute_script(script, *arguments)):
        if time.monotonic() > deadline:
            told = [one.text for one in driver.find_elements("css selector", ".message")]
            raise TimeoutError(f"{script}: {told}")
        time.sleep(0.01)
    return value


def processor_seconds(root):
    """Processor time so far of a process and those that it has started, which still run."""
    parents, seconds = {}, {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # one that has ended since
            numbers = file.read_text().rpartition(")")[2].split()
            parents[int(file.parent.name)] = int(numbers[1])
            seconds[int(file.parent.name)] = (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")
    family = {root}
    while more := {one for one, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(seconds.get(one, 0.0) for one in family)


def single_moves(driver, count, pauses=(0.6, 0.02)):
    """Milliseconds from each move to its picture (count,). pauses: seconds after the moves, in turn."""
    sliders = driver.find_elements("css selector", ".path:not(.own) input[type=range]")
    taken = []
    for i in range(count):
        driver.execute_script("told.moved = []; told.shown = []")
        sliders[i // 10 % len(sliders)].send_keys(RIGHT if i % 10 < 6 else LEFT)  # six steps there, four back
        taken.append(driver.execute_async_script(ONE_MOVE))
        time.sleep(pauses[i % len(pauses)])
    return np.array(taken)


def dragged(driver, seconds):
    """(milliseconds from the moves that were shown to their pictures, pictures per second, moves)."""
    driver.execute_script("told.moved = []; told.shown = []")
    driver.execute_async_script(DRAGGING, seconds)
    moved, shown = driver.execute_script("return [told.moved, told.shown]")
    at = dict(reversed(moved))  # a shift may come again: its first time
    ages, last = [], -1.0
    for shifts, time_shown in shown:
        earlier = [when for one, when in moved if one == shifts and last < when <= time_shown]
        ages += [time_shown - (earlier[-1] if earlier else at[shifts])] if shifts in at else []
    return np.array(ages), len(shown) / seconds, len(moved)


def sentences(driver):
    """Seconds from pressing the button to the slider, of each pair of sentences."""
    taken = []
    for first, second in SENTENCES:
        before = driver.execute_script("return document.querySelectorAll('.own[data-taken]').length")
        taken.append(driver.execute_async_script("""
            const [first, second, before, done] = arguments, began = performance.now();
            const seen = new MutationObserver(() => {
              if (document.querySelectorAll('.own[data-taken]').length > before) {
                seen.disconnect();
                done((performance.now() - began) / 1000);
              }
            });
            seen.observe(document.body, {attributes: true, subtree: true, attributeFilter: ["data-taken"]});
            explorer.say(first, second);""", first, second, before))
    return taken


def main(arguments):
    args = parse(arguments)
    with explorer(args.opened or PORTRAITS, args.port) as (address, server), browser() as driver:
        driver.get(address)
        until(driver, "return document.querySelector('#strip-cells')?.children.length > 0")
        driver.execute_script(WATCHING)
        single_moves(driver, 10)  # the paths are followed from the start once
        moves = single_moves(driver, args.moves)
        roots = server, driver.service.process.pid
        before = [processor_seconds(root) for root in roots]
        single_moves(driver, args.moves, pauses=(0.0,))
        spent = [1000 * (processor_seconds(root) - was) / args.moves for root, was in zip(roots, before)]
        ages, rate, events = dragged(driver, args.drag)
        missing = driver.execute_script("return document.querySelector('#sentences-note').textContent")
        said = [] if missing.startswith("Not here") else sentences(driver)
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    print(f"moves: {len(moves)}, median {np.median(moves):.0f} ms, 95th percentile {np.percentile(moves, 95):.0f} ms, "
          f"longest {moves.max():.0f} ms")
    print(f"processor time of a move: server {spent[0]:.0f} ms, browser and its driver {spent[1]:.0f} ms")
    print(f"drag: {events} moves in {args.drag:g} s, {rate:.0f} pictures per second, {np.median(ages):.0f} ms after "
          f"their moves (95th percentile {np.percentile(ages, 95):.0f} ms)")
    if said:
        print(f"sentences: {', '.join(f'{seconds:.1f}' for seconds in said)} s")
    print(f"cores: {cores}, load of the last minute: {load:.1f}")


if __name__ == "__main__":
    main(sys.argv[1:])
