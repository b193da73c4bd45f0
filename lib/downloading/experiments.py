"""Released experiments: which ones an archive or a directory contains, and how they are put into place."""

import os

from lib.downloading.archives import ArchiveError, unpack
from lib.downloading.fetching import FetchError
from lib.downloading.hashes import UNKNOWN, Record, record_path
from lib.downloading.placing import empty_directory, exchange
from lib.downloading.reporting import report
from models.errors import quoted
from models.files import sha256 as sha256_of

MARK = "args.json"  # every directory that contains it is an experiment


def find_experiments(files):
    """{"<experiment>/<file>": path in the archive} of the experiments that lie anywhere in it.

    Raises ArchiveError where there are none, or two of the same name.
    """
    roots = {path.parent for path in files if path.name == MARK}
    roots = {root for root in roots if not roots & set(root.parents)}
    names = [root.name for root in roots]
    if not names:
        raise ArchiveError(f"it contains no experiment, which is a directory with {MARK}")
    odd = next((name for name in names if not name or name.startswith(".") or names.count(name) > 1), None)
    if odd is not None:
        raise ArchiveError(f"it contains an experiment with the invalid name {quoted(odd)}, or two with that name")
    found = {}
    for path in sorted(files):
        root = next((parent for parent in path.parents if parent in roots), None)
        if root is not None:
            found[f"{root.name}/{path.relative_to(root)}"] = path
    return found


def place_experiments(files, target, work, force, origin=UNKNOWN, expected=None):
    """Place experiments, each in one step, and record the hashes of their files in one record of the whole asset.

    files: {"<experiment>/<file>": function that opens it}. target: <directory of the experiments>/<asset's name>, which
    the record stands beside. force: replace experiments that are there already; otherwise they stay as they are.
    expected: {"<experiment>/<file>": SHA-256}. Raises FetchError where a file is not as expected.
    """
    record, directory = Record(record_path(target), origin=origin), target.parent
    with empty_directory(work) as unpacked:
        hashes = unpack(files, unpacked)
        odd = next((file for file, sha256 in (expected or {}).items() if hashes.get(file) != sha256), None)
        if odd:
            raise FetchError(f"{odd} is missing there, or has changed since it was downloaded")
        for name in sorted({file.split("/")[0] for file in hashes}):
            own = {file: sha256 for file, sha256 in hashes.items() if file.startswith(f"{name}/")}
            there = directory / name
            if force or not os.path.lexists(there):
                exchange(unpacked / name, there)
            elif any(_differs(directory / file, sha256) for file, sha256 in own.items()):
                report(target.name, f"{there} differs from the released experiment; --force replaces it")
                continue
            for file, sha256 in own.items():
                record.add(file, sha256)
    record.write()


def _differs(file, sha256):
    return not file.is_file() or sha256_of(file) != sha256
