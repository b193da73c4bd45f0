"""The page of a run that is being trained: progress.html in its directory, which opens itself again every few seconds.

progress.html is filled in by Jinja2, with gallery.css, progress.css and progress.js written into it. Beside it lies

    progress/000050.jpg     three codes, a row each, along one path: what the run came to at iteration 50
"""

from dataclasses import dataclass
from pathlib import Path

from lib.files import write_text
from lib.pages.gallery import own_file, shown_path, template

WIDTH, HEIGHT = 1000, 300  # of the curve, in its own units
MOST = 400  # entries in the curve: of more, as many are averaged as it takes
TICKS = 5


@dataclass(frozen=True)
class Progress:
    """The facts that the page is made of. stats: {iteration: entry of stats.json}."""

    experiment: str
    iteration: int
    max_iter: int
    stats: dict
    path: int
    label: tuple | str
    strips: list  # iterations with a picture, the earliest first
    seconds_left: float | None = None
    running: bool = True


def write_progress(progress, directory):
    """Write the page of a `Progress` into the run's directory."""
    entries = list(progress.stats.values())
    page = template("progress.html").render(
        progress=progress,
        last=entries[-1] if entries else None,
        curve=curve(progress.stats, progress.max_iter) if entries else None,
        path=shown_path(progress.path, progress.label),
        strips=[{"iteration": at, "file": strip_file(at)} for at in reversed(progress.strips)],
        left=_duration(progress.seconds_left),
        style=own_file("gallery.css") + own_file("progress.css"),
        script=own_file("progress.js"),
        width=WIDTH,
        height=HEIGHT,
    )
    write_text(page, Path(directory) / "progress.html")


def strip_file(iteration):
    """The picture of an iteration, from the run's directory."""
    return f"progress/{iteration:06d}.jpg"


def curve(stats, max_iter):
    """What the template draws of {iteration: {"loss", "spread", ..}}: a line, the band of the spread around it, and the
    axes' ticks, (position, text) each. Entries of earlier versions have no spread."""
    every = -(-len(stats) // MOST)
    items = [(at, entry["loss"], entry.get("spread", 0)) for at, entry in stats.items()]
    points = [tuple(sum(column) / len(column) for column in zip(*items[i : i + every]))
              for i in range(0, len(items), every)]  # fmt: skip
    low = min(loss - spread for _, loss, spread in points)
    high = max(loss + spread for _, loss, spread in points)
    if high == low:
        margin = max(0.5, abs(low) / 1000)  # what is added to a huge loss must not be lost in rounding
        low, high = low - margin, high + margin

    def place(at, value):
        return f"{at / max(1, max_iter) * WIDTH:.1f},{(high - value) / (high - low) * HEIGHT:.1f}"

    above = [place(at, loss + spread) for at, loss, spread in points]
    below = [place(at, loss - spread) for at, loss, spread in points]
    levels = [low + (high - low) * i / (TICKS - 1) for i in range(TICKS)]
    return {
        "line": " ".join(place(at, loss) for at, loss, _ in points),
        "band": " ".join(above + below[::-1]),
        "levels": [((high - level) / (high - low) * HEIGHT, f"{level:.3g}") for level in levels],
        "iterations": [(WIDTH * i / (TICKS - 1), f"{max_iter * i // (TICKS - 1)}") for i in range(TICKS)],
    }


def _duration(seconds):
    """Seconds as a reader says them; None where they are not known."""
    if seconds is None:
        return None
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
