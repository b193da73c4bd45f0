"""What the tests check of a command that has ended, and how they change what it left."""

import json


def done(process):
    """The output of a command that succeeded."""
    assert process.returncode == 0, process.stderr
    return process.stdout


def refused(process):
    """The line that a command was refused with."""
    assert process.returncode == 2 and process.stderr.count("\n") == 1, process.stderr
    return process.stderr


def change_args(directory, remove=(), **changed):
    """Changes the args.json of a directory, and removes keys from it."""
    file = directory / "args.json"
    args = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({key: value for key, value in args.items() if key not in remove}))
