"""A minute of the campaign of hostile files; `make hostile` runs all of it."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import campaign
import readers

INPUTS = 4_500  # of a minute


@pytest.mark.parametrize("name", readers.READERS)
def test_what_the_campaign_mutates_is_accepted_as_it_is(name, tmp_path):
    reader = readers.READERS[name]()
    for seed, files in enumerate(reader.seeds().values()):
        directory = tmp_path / str(seed)
        for file, content in files.items():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            (directory / file).write_bytes(content)
        reader.read(directory, directory / next(iter(files)))


def test_hostile_files_are_accepted_or_refused_in_one_line(tmp_path):
    command = [sys.executable, "-W", "ignore", campaign.__file__, f"--inputs={INPUTS}", "--workers=1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
