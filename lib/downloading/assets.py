"""What there is to download: weights and released experiments, and where they are published.

An asset is one of the authors' archives, the files that it brings, and the other sources of each file:

    {"archives": {NAME: {"url", "sha256", "unpacks_to": DIRECTORY, "files": [FILE, ..] or, of experiments, a text,
                         "optional": bool}},
     "single_files": {STEM OF A FILE: [{"format", "url"}, ..]}}
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lib.downloading.fetching import is_address
from lib.files import read_json
from models.errors import UserError

ASSETS = Path(__file__).with_name("assets.json")


@dataclass(frozen=True)
class Source:
    location: str | Path  # an address, or a place in a directory
    format: str = "genforce"  # or another one of models.formats, which is converted to it


@dataclass(frozen=True)
class Asset:
    name: str
    url: str  # of the archive
    sha256: str | None  # of the archive
    directory: PurePosixPath  # where it goes, relative
    files: tuple[str, ...]  # of experiments, which only the archive knows: the asset's own name
    sources: dict  # file: [Source] besides the archive; the files that have some are generators
    experiments: bool
    optional: bool

    @property
    def archive(self):
        """The archive's file name."""
        return PurePosixPath(urlsplit(self.url).path).name

    def label(self, file):
        """The name of a generator, or else the file's."""
        return PurePosixPath(file).stem if file in self.sources else file


def read_assets(path=ASSETS):
    """{name: Asset} of an assets file. Raises UserError where the file is none."""
    content = read_json(path)
    try:
        generators = {
            f"{stem}.pth": [Source(entry["url"], entry["format"]) for entry in entries]
            for stem, entries in content.get("single_files", {}).items()
        }
        assets = {name: _asset(name, entry, generators) for name, entry in content["archives"].items()}
        orphans = generators.keys() - {file for asset in assets.values() for file in asset.files}
        if orphans:
            raise ValueError(f"{min(orphans)} is in no archive, and so nothing says where it goes")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is no list of assets: {type(error).__name__}: {error}") from None
    return assets


def _asset(name, entry, generators):
    directory, experiments = PurePosixPath(entry["unpacks_to"]), isinstance(entry["files"], str)
    files = (name,) if experiments else tuple(entry["files"])
    sources = {file: generators[file] for file in files if file in generators}
    asset = Asset(
        name, entry["url"], entry.get("sha256"), directory, files, sources, experiments, entry.get("optional", False)
    )
    for part in (*directory.parts, *files, asset.archive):
        if part != PurePosixPath(part).name or part.startswith("."):
            raise ValueError(f"{part!r} of {name} is no plain name")
    for url in (asset.url, *(source.location for found in sources.values() for source in found)):
        if not is_address(url):
            raise ValueError(f"{url!r} of {name} is no http or https address")
    return asset


def choose(assets, only=(), optional=False):
    """[(Asset, files asked for)]: what `only` names, or everything; optional assets on demand.

    A name is an archive's or a generator's. Raises UserError where there is no such name.
    """
    named = {name: (asset, asset.files) for name, asset in assets.items()}
    named |= {asset.label(file): (asset, (file,)) for asset in assets.values() for file in asset.sources}
    unknown = next((name for name in only if name not in named), None)
    if unknown is not None:
        raise UserError(f"there is no {unknown!r} to download; there are {', '.join(named)}")
    names = [*only] or [name for name, asset in assets.items() if not asset.optional]
    names += [name for name, asset in assets.items() if optional and asset.optional]
    asked = {(asset.name, file) for asset, files in map(named.get, names) for file in files}
    chosen = [(asset, [file for file in asset.files if (asset.name, file) in asked]) for asset in assets.values()]
    return [(asset, files) for asset, files in chosen if files]
