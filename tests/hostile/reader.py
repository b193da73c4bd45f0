"""What a reader of strangers' files is to the campaign."""

import io
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = REPOSITORY / "tests" / "data"
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "tests" / "downloading")]


class Reader:
    """A reader gets a directory with the files of one seed, of which the first was mutated."""

    share = 1.0  # of the campaign's inputs, in proportion to the other readers': lower where one takes longer
    refusals = ()  # what else than UserError refuses a file
    allowed = ()  # audit events that belong to its work

    def seeds(self):
        """{name: {file name: bytes}}, which are accepted as they are."""
        raise NotImplementedError

    def made_by_hand(self):
        """{name: {file name: bytes}}, which are refused as they are."""
        return {}

    def read(self, directory, file):
        """Do whatever a command would do with the files, such as building a network. Raises UserError, or what else is
        in `refusals`, where they are refused."""
        raise NotImplementedError


def saved(content, **options):
    """The bytes that torch.save writes."""
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def first(seeds, names):
    """A seed for each of these files: the same files, that one first."""
    return {name: {name: seeds[name], **seeds} for name in names}
