"""The gallery as one file, to be mailed: the page with its pictures in it, as data URIs."""

import base64
from pathlib import Path

from markupsafe import Markup

from lib.pages.folder import read_results
from lib.pages.gallery import write_html
from lib.pages.results import path_id
from models.errors import UserError

NAME = "gallery.html"
MOST_BYTES = 5 * 10**8  # a browser holds the page as one text


def write_single_file(directory, labels, codes, tell):
    """Write the gallery of <experiment>/results/<pool>/<walk>/ as one file there. labels, codes: as `write_pages`.

    tell: called with the file and about how many bytes it will have, before it is written. Raises UserError where a
    path has no film, or where that would be too many bytes for a browser.
    """
    directory = Path(directory)
    results = read_results(directory, labels, codes)
    originals = {code: f"{code}/original_image.jpg" for code in codes}
    films = [f"{code}/paths_strips/{path_id(k)}_film.jpg" for code in codes for k in range(len(results.labels))]
    lacking = [film for film in films if not (directory / film).is_file()]
    if lacking:
        raise UserError(f"{directory / lacking[0]} is missing, as an earlier version made these results: remove "
                        f"{directory}, and walk again")
    size = sum((directory / file).stat().st_size for file in [*originals.values(), *films]) * 4 // 3
    if size > MOST_BYTES:
        raise UserError(f"{directory / NAME} would have {size / 1e6:,.0f} MB, too many for a browser: choose some "
                        "--paths, a smaller --pool or a smaller --img-size")
    tell(directory / NAME, size)
    embedded = {code: data_uri(directory / original) for code, original in originals.items()}
    write_html(results, directory / NAME, lambda file: Markup(data_uri(directory / file)), embedded)
    return directory / NAME


def data_uri(file):
    """A JPEG as an address that has the picture in it."""
    return "data:image/jpeg;base64," + base64.b64encode(file.read_bytes()).decode("ascii")
