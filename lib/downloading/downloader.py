"""How assets come here: from which source, and what must be true of a file before it takes its place.

Everything arrives in <directory>/.download, and takes its place in one step once it is found sound. Beside each file
stands its hash, <file>.sha256; beside experiments, <asset>.sha256 with those of all their files.
"""

import fcntl
import os
import shutil
import sys
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

from lib.config import ROOT
from lib.downloading.archives import Refused, find_experiments, find_named, folder_files, plain_files, unpack
from lib.downloading.assets import Source
from lib.downloading.fetching import Fetcher, FetchError, WrongHash, discard, expected_size, is_address, part_of
from lib.downloading.hashes import Record, copy_hashing
from models.errors import UserError
from models.files import sha256 as sha256_of
from models.formats import TORCH_MAGIC

WORK = ".download"
# How older versions of torch.save begin a file, with a pickled number; newer ones write a zip archive.
LEGACY_TORCH = b"\x80\x02" + TORCH_MAGIC + b"."


class Downloader:
    """Brings assets into a directory.

    to: the directory that the layout begins in; by default the repository, and for experiments the working directory,
    where the other commands look for them. mirror: an address or a directory that is tried first; it has the archives
    under their file names, or the files as they lie in the layout. force: fetch what is here too, and replace it.
    Raises UserError where the mirror is no place.
    """

    def __init__(self, to=None, mirror=None, force=False, fetcher=None):
        if mirror and not is_address(mirror) and not Path(mirror).is_dir():
            raise UserError(f"--mirror {mirror} is neither a directory nor an http or https address")
        self.to, self.mirror, self.force = to, mirror, force
        self.fetcher = fetcher or Fetcher()

    def directory(self, asset):
        if self.to is not None:
            return Path(self.to) / asset.directory
        return Path(asset.directory) if asset.experiments else ROOT / asset.directory

    def record(self, asset, file):
        return Record.read(_record_path(self.directory(asset) / file))

    def state(self, asset, file, quick=True):
        """One of "here", "missing", "broken", "unchecked" (there, but of no known hash). Quick: see `Record.broken`."""
        record, target = self.record(asset, file), self.directory(asset) / file
        if not (record.hashes if asset.experiments else target.is_file()):
            return "missing"
        if not record.hashes:
            return "unchecked"
        return "broken" if record.broken(quick) else "here"

    def bring(self, asset, files):
        """Fetch what of an asset's files is not here and sound, from one source after the other.

        Each source that fails is told in a line. Returns the files that did not come.
        """
        missing = [file for file in files if self.force or not self._is_sound(asset, file)]
        if missing:
            with _attempt(asset.name), _claimed(self.directory(asset)) as work:
                for archive, sources in self.rounds(asset):
                    if missing:
                        self._from_archive(asset, archive, missing, work)
                    for file in [*missing]:
                        if any(self._from_source(asset, file, source, work) for source in sources.get(file, ())):
                            missing.remove(file)
                if all(self.state(asset, file) == "here" for file in asset.files):
                    for half in work.glob("*.part"):  # from sources that were not needed in the end
                        discard(half)
        return missing

    def _is_sound(self, asset, file):
        """Whether a file is here and sound. The hash of one that someone else put there is recorded from now on."""
        state, label = self.state(asset, file, quick=False), asset.label(file)
        if state == "broken":
            _tell(label, f"{self.record(asset, file).broken(quick=False)} has changed since it came here")
        elif state == "unchecked":
            target = self.directory(asset) / file
            with _attempt(label, "what is here is not sound"):
                _check_content(target, asset, file)
                _write_record(target, sha256_of(target))
                return True
        return state == "here"

    def rounds(self, asset):
        """(archive, {file: [Source]}) of the mirror, then of the owners."""
        if self.mirror and is_address(self.mirror):
            base = self.mirror.rstrip("/")
            # An address cannot be asked which experiments it has: their archive is the only way.
            files = () if asset.experiments else asset.files
            yield f"{base}/{asset.archive}", {file: [Source(f"{base}/{asset.directory / file}")] for file in files}
        elif self.mirror:
            base, unpacked = Path(self.mirror), Path(self.mirror) / asset.directory
            places = {file: unpacked if asset.experiments else unpacked / file for file in asset.files}
            yield base / asset.archive, {file: [Source(place)] for file, place in places.items()}
        yield asset.url, asset.sources

    def _from_archive(self, asset, location, missing, work):
        """Take from the list `missing` what an archive brings; what is not here at all, it brings as well."""
        with (
            _attempt(asset.name, location),
            self._arrived(asset, asset.files, location, work, asset.sha256, room=2) as (archive, came_as),
            plain_files(archive, shutil.disk_usage(work).free) as files,
        ):
            found = find_experiments(files) if asset.experiments else find_named(files, asset.files)
            others = files.keys() - found.values()
            if others and not asset.sha256:  # where its owner states its hash, they just stay in it
                raise Refused(f"it holds {min(others)}, which is none of its files")
            wanted = {name: files[path] for name, path in found.items()}
            if asset.experiments:
                self._place_experiments(asset, wanted, work, location, came_as)
            else:
                keep = {file for file in asset.files if (self.directory(asset) / file).exists()} - {*missing}
                wanted = {file: opened for file, opened in wanted.items() if file not in keep}
                self._place_files(asset, wanted, work, location, came_as)
            missing.clear()

    def _from_source(self, asset, file, source, work):
        """Whether a file, or the mirror's directory of experiments, has come from a source of its own."""
        location = source.location
        with _attempt(asset.label(file), location):
            if asset.experiments:
                files = folder_files(location)
                wanted = {name: files[path] for name, path in find_experiments(files).items()}
                self._place_experiments(asset, wanted, work, carried=_hashes_at(location / asset.name))
                return True
            with self._arrived(asset, [file], location, work) as (arrived, came_as), _fresh(work) as directory:
                new = _as_genforce(arrived, directory / file, source)
                _check_content(new, asset, file)
                _place(new, self.directory(asset) / file, sha256_of(new), location, came_as)
            return True
        return False

    @contextmanager
    def _arrived(self, asset, files, location, work, sha256=None, room=1):
        """(file, SHA-256) of what lies at a location: a place as it is, an address fetched, for the time of the block.

        files: what it is to bring. sha256: what its owner states; what was seen there first counts for one that is not
        stated. What proves to be another thing than expected is not kept for the next time.
        """
        expected = sha256 or self._first_seen(asset, files, location)
        name = asset.label(files[0]) if len(files) == 1 else asset.name
        try:
            if is_address(location):
                arrived = part_of(work, location)
                found = self.fetcher.fetch(location, arrived, expected, name, room)
            else:
                arrived, found = location, _hash_of_place(location, expected or _hashes_at(location).get(location.name))
        except WrongHash as error:
            hint = "" if sha256 else "; that was seen there first: --force takes what is there now"
            raise FetchError(f"{error}{hint}") from None
        try:
            yield arrived, found
        except (Refused, UserError):
            if is_address(location):
                discard(arrived)
            raise
        if is_address(location):
            discard(arrived)

    def _first_seen(self, asset, files, location):
        """The SHA-256 of what came from a location before; None where nothing did, or where that does not matter."""
        records = [] if self.force else [self.record(asset, file) for file in files]
        return next((record.source_sha256 for record in records if record.source == str(location)), None)

    def _place_files(self, asset, files, work, location, came_as):
        """Put in place {file: function that opens it}, each in one step."""
        with _fresh(work) as directory:
            hashes = unpack(files, directory)
            for file in () if asset.sha256 else hashes:
                _check_content(directory / file, asset, file)
            for file, sha256 in hashes.items():
                _place(directory / file, self.directory(asset) / file, sha256, location, came_as)

    def _place_experiments(self, asset, files, work, location="", came_as="", carried=None):
        """Put in place the experiments that are not there; with force, in the place of those that are.

        carried: the hashes that came along with the files.
        """
        target = self.directory(asset)
        record = Record(_record_path(target / asset.name), source=str(location), source_sha256=came_as)
        with _fresh(work) as directory:
            hashes = unpack(files, directory)
            odd = next((file for file, sha256 in (carried or {}).items() if hashes.get(file) != sha256), None)
            if odd:
                raise FetchError(f"{odd} is missing there, or has changed since it was laid out")
            for name in sorted({file.split("/")[0] for file in hashes}):
                own = {file: sha256 for file, sha256 in hashes.items() if file.startswith(f"{name}/")}
                if self.force or not os.path.lexists(target / name):
                    _exchange(directory / name, target / name)
                elif any(not (target / file).is_file() or sha256_of(target / file) != own[file] for file in own):
                    _tell(asset.name, f"{target / name} has other files than the released one; --force replaces it")
                    continue
                for file, sha256 in own.items():
                    record.add(file, sha256)
        record.write()


# --- files on their way into place


@contextmanager
def _claimed(directory):
    """The directory that a directory's files arrive in, with every other process kept out of it.

    Raises UserError where another process has it. Leaves no empty directory behind.
    """
    work = directory / WORK
    made = [path for path in (work, *work.parents) if not path.exists()]
    work.mkdir(parents=True, exist_ok=True)
    path = work / "lock"
    with open(path, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = path.exists() and os.path.samestat(os.fstat(lock.fileno()), path.stat())
        except BlockingIOError:
            ours = False
        if not ours:
            raise UserError(f"another process is fetching to {directory}: wait for it")
        try:
            yield work
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                for empty in [work, *made[1:]]:
                    empty.rmdir()


@contextmanager
def _fresh(work):
    """An empty directory for the time of the block."""
    directory = work / "unpacked"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _hashes_at(target):
    """{file: SHA-256} of the record that stands beside a file of a mirror's directory, or within its experiments."""
    return Record.read(_record_path(target)).hashes


def _hash_of_place(path, expected):
    if not path.is_file():
        raise FetchError("there is no such file")
    found = sha256_of(path)
    if expected and found != expected:
        raise WrongHash(f"its SHA-256 is {found}, expected {expected}")
    return found


def _as_genforce(arrived, path, source):
    """What has arrived, as a file of our own that may be moved: itself, a copy of the mirror's, or a conversion."""
    if source.format != "genforce":
        from models.formats import convert

        convert(arrived, path)
        return path
    if is_address(source.location):
        return arrived
    with open(arrived, "rb") as stream:
        copy_hashing(stream, path)
    return path


def _check_content(path, asset, file):
    """Raise UserError where a file is not what it claims to be: a generator of its name, or a file of tensors."""
    if file not in asset.sources:
        with open(path, "rb") as stream:
            legacy = stream.read(len(LEGACY_TORCH)) == LEGACY_TORCH
        if not legacy and not zipfile.is_zipfile(path):
            raise UserError(f"{path} is no file of torch.save, or not a whole one")
        return
    from models.load_generator import load_generator, mismatch

    other = mismatch(load_generator(path), asset.label(file))
    if other:
        raise UserError(f"{path} holds {other}")


def _record_path(target):
    return target.with_name(f"{target.name}.sha256")


def _write_record(target, sha256, location="", came_as=""):
    record = Record(_record_path(target), source=str(location), source_sha256=came_as)
    record.add(target.name, sha256)
    record.write()


def _place(new, target, sha256, location, came_as):
    _record_path(target).unlink(missing_ok=True)  # without one a file is checked anew, should we die in between
    os.replace(new, target)
    _write_record(target, sha256, location, came_as)


def _exchange(new, target):
    """Put a directory in the place of another, or of nothing."""
    old = new.with_name(f"{new.name}.old")
    if os.path.lexists(target):
        os.rename(target, old)
    try:
        os.rename(new, target)
    except OSError:
        if os.path.lexists(old):
            os.rename(old, target)
        raise


# --- what is said


@contextmanager
def _attempt(label, what=None):
    """Tell in a line what makes the block fail, and go on after it."""
    try:
        yield
    except (FetchError, Refused, UserError) as error:
        _tell(label, f"{what}: {error}" if what else error)
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}" if error.filename else error.strerror or error
        _tell(label, f"{what}: {reason}" if what else reason)


def _tell(label, text):
    print(f"{label}: {' '.join(str(text).split())}", file=sys.stderr, flush=True)


# What is said in the summary of a file that did not come, by its state.
FAILED = {"missing": "missing", "broken": "not sound", "unchecked": "not sound", "here": "not fetched anew"}


def summary(downloader, chosen, failed):
    """Lines that say what of the assets asked for is here. failed: {asset's name: [files that did not come]}."""
    for asset, files in chosen:
        states = {file: downloader.state(asset, file) for file in failed[asset.name]}
        here = sum(states.get(file, "here") == "here" for file in files)
        line = f"{asset.name}: {here} of {len(files)} here, in {downloader.directory(asset)}"
        for said in dict.fromkeys(FAILED.values()):
            names = [asset.label(file) for file, state in states.items() if FAILED[state] == said]
            if names:
                line += f"; {said}: {', '.join(names)}"
        yield line


def listing(downloader, chosen):
    """Lines that say what there is, its sources in their order, its size where known, and what of it is here."""
    for asset, files in chosen:
        directory, rounds = downloader.directory(asset), [*downloader.rounds(asset)]
        yield f"{asset.name}, in {directory}"
        yield from (f"    from {archive}{_extent(directory, archive)}" for archive, _ in rounds)
        for file in files:
            size = _megabytes(directory / file)
            yield f"  {asset.label(file):<38} {downloader.state(asset, file):<10} {size}".rstrip()
            for source in (source for _, sources in rounds for source in sources.get(file, ())):
                converted = f", converted from {source.format}" if source.format != "genforce" else ""
                yield f"    or from {source.location}{converted}{_extent(directory, source.location)}"


def _extent(directory, location):
    """What is known of a source's size, and of how much of it has arrived."""
    if not is_address(location):
        return f", {_megabytes(location)}" if location.is_file() else "" if location.exists() else ", not there"
    half = part_of(directory / WORK, location)
    whole = expected_size(half)
    if not half.is_file():
        return ""
    return f", {_megabytes(half)}{f' of {whole / 1e6:.1f} MB' if whole else ''} arrived so far"


def _megabytes(path):
    return f"{path.stat().st_size / 1e6:.1f} MB" if path.is_file() else ""
