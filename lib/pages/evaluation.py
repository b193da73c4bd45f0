"""The page of an evaluation: for each path its figures beside pictures.

evaluation.html is filled in by Jinja2, with gallery.css and evaluation.css written into it. It lies in a folder beside
the walk's, and links relatively to what lies around it:

    pictures/path_000.jpg                       some codes, a column each: end, reach, start, reach, end
    heat_map.png, curves.png, table.md, summary.json
    ../index.html                               the gallery, where the walk has pictures
    ../<code>/paths_strips/path_000_strip.jpg   its strips
"""

from lib.files import write_text
from lib.pages.gallery import own_file, shown_path, template
from lib.pages.results import path_id

STRIPS = 3  # codes of the gallery whose strips are shown
BARS = 7  # numbers shown of each path, those that move most


def write_evaluation(summary, directory, walk, codes):
    """Write index.html of an evaluation into its directory.

    summary: the content of its summary.json. walk: the directory of the walk, whose pictures of the codes are shown
    where it has any.
    """
    paths = [_path(entry, walk, codes) for entry in summary["paths"]]
    page = template("evaluation.html").render(
        summary=summary,
        paths=paths,
        has_gallery=(walk / "index.html").is_file(),
        style=own_file("gallery.css") + own_file("evaluation.css"),
        shown=shown,
    )
    write_text(page, directory / "index.html")


def shown(figure, digits):
    """A figure as text: its value, and its interval."""
    value, low, high = ("∞" if figure[key] is None else f"{figure[key]:.{digits}f}" for key in ("value", "low", "high"))
    return value, f"{low} to {high}"


def _path(entry, walk, codes):
    """What the template shows of a path besides its label."""
    moved = sorted(entry["moved_at_reach"].items(), key=lambda item: -abs(item[1]))
    if entry["own"] not in dict(moved[:BARS]):
        moved = [*moved[: BARS - 1], (entry["own"], entry["moved_at_reach"][entry["own"]])]
    most = max(abs(value) for _, value in moved[:BARS]) or 1
    strip = f"paths_strips/{path_id(entry['path'])}_strip.jpg"
    return {
        "shown": shown_path(entry["path"], _label(entry["label"])),
        "entry": entry,
        "bars": [{"name": name, "value": value, "share": abs(value) / most} for name, value in moved[:BARS]],
        "strips": [f"../{code}/{strip}" for code in codes if (walk / code / strip).is_file()][:STRIPS],
    }


def _label(label):
    return label if isinstance(label, str) else tuple(label)
