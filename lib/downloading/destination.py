"""Where assets go, and which of their files are there and intact."""

from pathlib import Path

from lib.config import ROOT
from lib.downloading.hashes import Record


class Destination:
    """to: the directory that assets are placed below.

    By default it is the repository, and for experiments the working directory, where the other commands look for them.
    """

    def __init__(self, to=None):
        self.to = to

    def directory(self, asset):
        if self.to is not None:
            return Path(self.to) / asset.directory
        return Path(asset.directory) if asset.experiments else ROOT / asset.directory

    def record(self, asset, file):
        return Record.beside(self.directory(asset) / file)

    def state(self, asset, file, quick=True):
        """One of "here", "missing", "broken", "unchecked" (there, but without a recorded hash).

        quick: see `Record.broken`.
        """
        record, target = self.record(asset, file), self.directory(asset) / file
        if not (record.hashes if asset.experiments else target.is_file()):
            return "missing"
        if not record.hashes:
            return "unchecked"
        return "broken" if record.broken(quick) else "here"
