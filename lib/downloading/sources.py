"""Where an asset may come from, in the order in which the sources are tried: a mirror first, then its owners.

A mirror is an address or a directory. It has the archives under their file names, or the files in the directories where
they belong.
"""

from pathlib import Path

from lib.downloading.assets import Source, is_address
from models.errors import UserError


def check_mirror(mirror):
    """Raise UserError where a mirror is neither an address nor a directory."""
    if not is_address(mirror) and not Path(mirror).is_dir():
        raise UserError(f"--mirror {mirror} is neither a directory nor an http or https address")


def sources_in_order(asset, mirror=None):
    """(location of the archive or None, {file: [Source, ...]}) of the mirror, where there is one, and of the owners."""
    if mirror:
        yield _of_address(asset, mirror.rstrip("/")) if is_address(mirror) else _of_directory(asset, Path(mirror))
    yield asset.url, asset.sources
    yield from ((url, {}) for url in asset.other_urls)


def _of_address(asset, base):
    # A server cannot be asked which experiments it has: they come in their archive only.
    files = () if asset.experiments else asset.files
    archive = asset.archive and f"{base}/{asset.archive}"
    return archive, {file: [Source(f"{base}/{asset.directory / file}")] for file in files}


def _of_directory(asset, base):
    directory = base / asset.directory
    places = {file: directory if asset.experiments else directory / file for file in asset.files}
    return asset.archive and base / asset.archive, {file: [Source(place)] for file, place in places.items()}
