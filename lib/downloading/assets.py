"""What can be downloaded: weights and released experiments, and where they are published.

An asset is one of the authors' archives, the files that it contains, and further sources of each file:

    {"archives": {NAME: {"url", "sha256", "other_urls": [URL, ...], "unpacks_to": DIRECTORY,
                         "optional": bool, "files": [FILE, ...], or a sentence where the archive contains experiments}},
     "single_files": {STEM OF A FILE: [{"format", "url"}, ...]}}

An entry of "archives" without "url" has no archive: its files have only sources of their own.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from lib.files import read_json
from models.errors import UserError

ASSETS = Path(__file__).with_name("assets.json")


def is_address(location):
    """Whether a location is an http or https address; else it is a path."""
    return isinstance(location, str) and urlsplit(location).scheme in ("http", "https")


@dataclass(frozen=True)
class Source:
    location: str | Path  # an http or https address, or a path on this machine
    format: str = "genforce"  # or another one of models.formats; such a file is converted


@dataclass(frozen=True)
class Asset:
    name: str
    url: str | None  # of the archive; None: there is none
    sha256: str | None  # of the archive
    directory: PurePosixPath  # of the files: relative
    files: tuple[str, ...]  # the asset's own name where it has experiments, which only the archive names
    sources: dict  # {file: [Source, ...]} besides the archive; a file that has an entry is a generator
    experiments: bool
    optional: bool
    other_urls: tuple[str, ...] = ()  # of the archive, for when the first fails

    @property
    def archive(self):
        """The file name of the archive, where there is one."""
        return self.url and PurePosixPath(urlsplit(self.url).path).name

    def label(self, file):
        """The name of the generator in a file, or else that of the file."""
        return PurePosixPath(file).stem if file in self.sources else file


def read_assets(path=ASSETS):
    """{name: Asset} of a file such as assets.json. Raises UserError where it is not one."""
    content = read_json(path)
    try:
        generators = {
            f"{stem}.pth": [Source(entry["url"], entry["format"]) for entry in entries]
            for stem, entries in content.get("single_files", {}).items()
        }
        assets = {name: _asset(name, entry, generators) for name, entry in content["archives"].items()}
        orphans = generators.keys() - {file for asset in assets.values() for file in asset.files}
        if orphans:
            raise ValueError(f"{min(orphans)} is in no archive, which would name its directory")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{path} is not a list of assets: {type(error).__name__}: {error}") from None
    return assets


def _asset(name, entry, generators):
    directory, experiments = PurePosixPath(entry["unpacks_to"]), isinstance(entry["files"], str)
    files = (name,) if experiments else tuple(entry["files"])
    sources = {file: generators[file] for file in files if file in generators}
    asset = Asset(
        name, entry.get("url"), entry.get("sha256"), directory, files, sources, experiments,
        entry.get("optional", False), tuple(entry.get("other_urls", ())),
    )  # fmt: skip
    if asset.url is None and sources.keys() != {*files}:
        raise ValueError(f"{name} has neither an archive nor addresses of all its files")
    archive = () if asset.url is None else (asset.archive,)
    for part in (*directory.parts, *files, *archive):
        if part != PurePosixPath(part).name or part.startswith("."):
            raise ValueError(f"{part!r} of {name} is not a plain file name")
    urls = () if asset.url is None else (asset.url,)
    for url in (*urls, *asset.other_urls, *(source.location for found in sources.values() for source in found)):
        if not is_address(url):
            raise ValueError(f"{url!r} of {name} is not an http or https address")
    return asset


def choose(assets, only=(), experiments=False, everything=False):
    """[(Asset, [file, ...])] of what to download: the archives and generators named in `only`, or all of them that are
    not optional.

    experiments: whether to add optional experiments. everything: whether to add whatever is optional. Raises UserError
    where a name is unknown.
    """
    named = {name: (asset, asset.files) for name, asset in assets.items()}
    named |= {asset.label(file): (asset, (file,)) for asset in assets.values() for file in asset.sources}
    unknown = next((name for name in only if name not in named), None)
    if unknown is not None:
        raise UserError(f"there is no {unknown!r} to download; choose from {', '.join(named)}")
    names = [*only] or [name for name, asset in assets.items() if not asset.optional]
    names += [name for name, asset in assets.items() if everything or (experiments and asset.experiments)]
    asked = {(asset.name, file) for asset, files in map(named.get, names) for file in files}
    chosen = [(asset, [file for file in asset.files if (asset.name, file) in asked]) for asset in assets.values()]
    return [(asset, files) for asset, files in chosen if files]
