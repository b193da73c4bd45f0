"""The pages of a results folder, beside the codes' directories: index.html, results.md, results_strips.md."""

from pathlib import Path

from lib.files import read_json
from lib.pages.gallery import write_html
from lib.pages.markdown import write_markdown, write_strips_markdown
from lib.pages.results import Results


def write_pages(directory, labels, codes):
    """Write the pages of <experiment>/results/<pool>/<walk>/; returns the gallery's file.

    labels: each path's, as `Results` has them. codes: the names of the codes' directories that are shown, at least one,
    all of them walked with the same steps. Raises UserError where a code's settings.json is missing or broken.
    """
    directory = Path(directory)
    results = read_results(directory, labels, codes)
    write_markdown(results, directory / "results.md")
    write_strips_markdown(results, directory / "results_strips.md")
    write_html(results, directory / "index.html")
    return directory / "index.html"


def read_results(directory, labels, codes):
    """The `Results` of a folder, from the settings.json that the walk left beside each code's pictures."""
    directory = directory.absolute()  # it may be given from within its experiment
    walks = [read_json(directory / code / "settings.json") for code in codes]
    shift_steps, eps, leap = (walks[0][key] for key in ("shift_steps", "eps", "shift_leap"))
    frames = 2 * (shift_steps // leap) + 1
    strips = {min(walk["strip_number"], frames) if walk["strip"] else 0 for walk in walks}
    return Results(
        experiment=directory.parents[2].resolve().name,
        pool=directory.parent.name,
        labels=labels,
        codes=codes,
        frames_per_path=frames,
        eps=eps * leap,
        gifs=all(walk["gif"] for walk in walks),
        strip_frames=strips.pop() if len(strips) == 1 else 0,
    )
