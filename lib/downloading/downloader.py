"""How an asset is downloaded: from one source after the other, until every file is here and verified.

Files arrive in <directory>/.download, where an interrupted download goes on, and move into place in one step. Beside
each file stands the record of its hash, <file>.sha256; beside experiments, <asset>.sha256 with those of all their
files.
"""

import shutil
from contextlib import contextmanager

from lib.downloading.archives import ArchiveError, find_named, folder_files, regular_files
from lib.downloading.assets import is_address
from lib.downloading.checking import check_content
from lib.downloading.claiming import claimed
from lib.downloading.destination import Destination
from lib.downloading.experiments import find_experiments, place_experiments
from lib.downloading.fetching import Fetcher, FetchError, WrongHash
from lib.downloading.hashes import Origin, Record
from lib.downloading.partial import discard, part_of
from lib.downloading.placing import as_genforce, empty_directory, place, place_files, write_record
from lib.downloading.reporting import attempt, report
from lib.downloading.sources import check_mirror, sources_in_order
from models.errors import UserError
from models.files import sha256 as sha256_of


class Downloader:
    """Downloads assets to a destination.

    to: see `Destination`. mirror: see `sources`. force: download files that are here already, and replace them. Raises
    UserError where the mirror is neither an address nor a directory.
    """

    def __init__(self, to=None, mirror=None, force=False, fetcher=None):
        if mirror:
            check_mirror(mirror)
        self.destination, self.mirror, self.force = Destination(to), mirror, force
        self.fetcher = fetcher or Fetcher()

    def download(self, asset, files):
        """Download those of an asset's files that are not here and intact; each source that fails is reported.

        Returns the files that could not be downloaded.
        """
        missing = [file for file in files if self.force or not self._is_intact(asset, file)]
        if missing:
            with attempt(asset.name), claimed(self.destination.directory(asset)) as work:
                for archive, sources in sources_in_order(asset, self.mirror):
                    if missing and archive is not None:
                        self._from_archive(asset, archive, missing, work)
                    for file in [*missing]:
                        if any(self._from_source(asset, file, source, work) for source in sources.get(file, ())):
                            missing.remove(file)
                if all(self.destination.state(asset, file) == "here" for file in asset.files):
                    for part in work.glob("*.part"):  # of sources that were not needed in the end
                        discard(part)
        return missing

    def _is_intact(self, asset, file):
        """Whether a file is here and intact. One without a recorded hash is verified, and its hash recorded."""
        state, label = self.destination.state(asset, file, quick=False), asset.label(file)
        if state == "broken":
            broken = self.destination.record(asset, file).broken(quick=False)
            report(label, f"{broken} has changed since it was downloaded, or is missing")
        elif state == "unchecked":
            target = self.destination.directory(asset) / file
            with attempt(label, "the file here is not valid"):
                check_content(target, asset, file)
                write_record(target, sha256_of(target))
                return True
        return state == "here"

    def _from_archive(self, asset, location, missing, work):
        """Take files from an archive: those of the list `missing`, which is then empty, and any that are not here."""
        with (
            attempt(asset.name, location),
            self._arrived(asset, asset.files, location, work, asset.sha256, room=2) as (archive, sha256),
            regular_files(archive, shutil.disk_usage(work).free) as files,
        ):
            found = find_experiments(files) if asset.experiments else find_named(files, asset.files)
            others = files.keys() - found.values()
            if others and not asset.sha256:  # an archive with the stated hash may contain more, which stays in it
                raise ArchiveError(f"it contains {min(others)}, which is not one of its files")
            wanted = {file: files[path] for file, path in found.items()}
            directory, origin = self.destination.directory(asset), Origin(str(location), sha256)
            if asset.experiments:
                place_experiments(wanted, directory / asset.name, work, self.force, origin)
            else:
                kept = {file for file in asset.files if (directory / file).exists()} - {*missing}
                wanted = {file: opened for file, opened in wanted.items() if file not in kept}
                place_files(asset, wanted, directory, work, origin)
            missing.clear()

    def _from_source(self, asset, file, source, work):
        """Whether a file, or a mirror's directory of experiments, could be taken from a source besides the archive."""
        location, target = source.location, self.destination.directory(asset) / file
        with attempt(asset.label(file), location):
            if asset.experiments:
                files = folder_files(location)
                wanted = {name: files[path] for name, path in find_experiments(files).items()}
                expected = Record.beside(location / asset.name).hashes
                place_experiments(wanted, target, work, self.force, expected=expected)
                return True
            with self._arrived(asset, [file], location, work) as (arrived, sha256), empty_directory(work) as directory:
                new = as_genforce(arrived, directory / file, source)
                check_content(new, asset, file)
                place(new, target, sha256_of(new), Origin(str(location), sha256))
            return True
        return False

    @contextmanager
    def _arrived(self, asset, files, location, work, sha256=None, room=1):
        """(path, SHA-256) of the file at a location, for the time of the block: fetched, or on this machine as it is.

        files: what it contains. sha256: the one that its owner states; without it, the one that was recorded when
        something first came from there is expected. A fetched file is deleted after the block, unless
        this fails for another reason than the content of the file.
        """
        expected = sha256 or self._first_seen(asset, files, location)
        label = asset.label(files[0]) if len(files) == 1 else asset.name
        try:
            if is_address(location):
                arrived = part_of(work, location)
                found = self.fetcher.fetch(location, arrived, expected, label, room)
            else:
                recorded = Record.beside(location).hashes.get(location.name)
                arrived, found = location, _hash_of_local(location, expected or recorded)
        except WrongHash as error:
            first = expected and not sha256
            hint = "; the first download from there had that one: --force accepts the new file" if first else ""
            raise FetchError(f"{error}{hint}") from None
        try:
            yield arrived, found
        except (ArchiveError, UserError):
            if is_address(location):
                discard(arrived)
            raise
        if is_address(location):
            discard(arrived)

    def _first_seen(self, asset, files, location):
        """The SHA-256 of what came from a location before; None where nothing did, or where it may have changed."""
        origins = [] if self.force else [self.destination.record(asset, file).origin for file in files]
        return next((origin.sha256 for origin in origins if origin.location == str(location)), None)


def _hash_of_local(path, expected):
    if not path.is_file():
        raise FetchError("there is no such file")
    found = sha256_of(path)
    if expected and found != expected:
        raise WrongHash(f"its SHA-256 is {found}, expected {expected}")
    return found
