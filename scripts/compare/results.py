"""The results of a comparison: one JSON file of small objects, one for each run, which several processes may add to."""

import fcntl
import json
from contextlib import contextmanager
from pathlib import Path

from lib.files import read_json, write_text
from models.errors import UserError

FILE = Path(__file__).parent / "results.json"
FORMAT = 1


class Results:
    """What is known so far. conditions: {name: value} that all runs have in common, such as the budget. lock: a file
    that one process at a time holds while it adds something.

    Raises UserError where the file has results of other conditions.
    """

    def __init__(self, file, conditions, lock):
        self.file, self.conditions, self.lock = Path(file), conditions, Path(lock)
        self.read()

    def read(self):
        """Take over what other processes have added."""
        content = read_json(self.file) if self.file.is_file() else {}
        before = content.get("conditions", self.conditions)
        differing = [name for name, value in self.conditions.items() if before.get(name) != value]
        if content.get("format", FORMAT) != FORMAT or differing:
            raise UserError(f"{self.file} has results of other conditions ({', '.join(differing) or 'its format'}): "
                            "repeat those, or name another file with --results")
        self.rates, self.runs = content.get("rates", {}), content.get("runs", {})

    def get(self, key):
        return self.runs.get(key)

    def add(self, key, result):
        """Add to what is known of a run."""
        with self._latest():
            self.runs[key] = self.runs.get(key, {}) | result

    def add_rate(self, key, rate):
        with self._latest():
            self.rates[key] = rate

    @contextmanager
    def _latest(self):
        """Read, let the caller add, and write, while no other process does."""
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        with open(self.lock, "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.read()
            yield
            write_text(self._text(), self.file)

    def _text(self):
        """As JSON with a line for each entry, so that a difference between two versions can be read."""
        parts = [f'"format": {FORMAT}', f'"conditions": {json.dumps(self.conditions)}']
        for name, entries in (("rates", self.rates), ("runs", self.runs)):
            lines = [f"{json.dumps(key)}: {json.dumps(rounded(entries[key]))}" for key in sorted(entries)]
            parts.append(f'"{name}": {{\n' + ",\n".join(lines) + "\n}")
        return "{" + ",\n".join(parts) + "}\n"


def rounded(value, digits=5):
    """Floats within lists and dicts to so many significant digits."""
    if isinstance(value, dict):
        return {key: rounded(one, digits) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(one, digits) for one in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value
