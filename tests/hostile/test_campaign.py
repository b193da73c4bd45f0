"""A minute of the campaign of hostile files; `make hostile` runs all of it."""

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import campaign
import readers

from models.errors import UserError

INPUTS = 3_000  # of about a minute


@pytest.mark.parametrize("name", readers.READERS)
def test_what_the_campaign_mutates_is_accepted_as_it_is(name, tmp_path):
    reader = readers.READERS[name]()
    different = {tuple(sorted(files.items())): files for files in reader.seeds().values()}
    for seed, files in enumerate(different.values()):
        directory = tmp_path / str(seed)
        reader.read(directory, campaign.write(files, directory))


@pytest.mark.parametrize("name", [name for name, kind in readers.READERS.items() if kind.made_by_hand is not
                                  readers.Reader.made_by_hand])  # fmt: skip
def test_what_was_made_by_hand_is_refused(name, tmp_path):
    reader, accepted = readers.READERS[name](), []
    reader.seeds()
    for number, (kind, files) in enumerate(reader.made_by_hand().items()):
        directory = tmp_path / str(number)
        with contextlib.suppress(UserError, *reader.refusals):
            reader.read(directory, campaign.write(files, directory))
            accepted.append(kind)
    assert not accepted


def test_hostile_files_are_accepted_or_refused_in_one_line(tmp_path):
    command = [sys.executable, "-W", "ignore", campaign.__file__, f"--inputs={INPUTS}", "--workers=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
