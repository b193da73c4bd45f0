"""The pages of a results folder, beside the codes' directories: index.html, results.md, results_strips.md."""

from pathlib import Path

from lib.pages.gallery import write_html
from lib.pages.markdown import write_markdown, write_strips_markdown
from lib.pages.measured import find_measured
from lib.pages.results import Results
from lib.settings import WalkSettings, read_object


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
    files = [directory / code / "settings.json" for code in codes]
    walks = [WalkSettings.read(read_object(file), file) for file in files]
    frames = walks[0].frames_per_path
    labels = labels if walks[0].paths is None else [labels[k] for k in walks[0].paths]
    strips = {min(walk.strip_number, frames) if walk.strip else 0 for walk in walks}
    strip_frames = strips.pop() if len(strips) == 1 else 0
    return Results(
        experiment=directory.parents[2].resolve().name,
        pool=directory.parent.name,
        labels=labels,
        codes=codes,
        frames_per_path=frames,
        eps=walks[0].eps * walks[0].shift_leap,
        gifs=all(walk.gif for walk in walks),
        strip_frames=strip_frames,
        films=[code for code, walk in zip(codes, walks) if walk.film],
        fps=walks[0].gif_fps,
        cells=strip_frames or min(walks[0].strip_number, frames),
        measured=find_measured(directory, labels),
    )


def refresh_pages(experiment, labels):
    """Write all pages below <experiment>/results/ again that a walk has written, as after an evaluation."""
    for page in sorted(Path(experiment).glob("results/*/*/index.html")):
        codes = sorted(file.parent.name for file in page.parent.glob("[!.]*/settings.json"))
        if codes:
            write_pages(page.parent, labels, codes)
