"""Thousands of hostile files for every reader of strangers' files, and what became of them.

    python tests/hostile/campaign.py --inputs 50000 --seed 0
    python tests/hostile/campaign.py --minutes 10       as many of them as there is time for

For each input: it is accepted, or refused in one line; nothing else is raised, it takes at most 10 s and 4 GB, nothing
runs, and nothing outside of the input's own directory changes. An input is made anew from its reader's name, the seed
and its number: --reader NAME --number N tries it alone, and shows the whole traceback.
"""

import argparse
import hashlib
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import mutations
import readers
from tqdm import tqdm

MEMORY = 4 << 30  # bytes
SECONDS = 10
LONGEST_LINE = 600  # characters of a message, of which the file's name is a part
AT_ONCE = 100  # inputs of one task
# What a reader has no use for. `open` and `shutil.rmtree` are looked at more closely.
FORBIDDEN = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "os.kill", "subprocess.Popen", "socket.connect",
             "pickle.find_class", "os.chmod", "os.chown", "os.link", "os.symlink", "ctypes.dlopen",
             "os.truncate", "marshal.loads", "code.__new__")  # fmt: skip


class Broken(Exception):
    """What an input did that none may."""


class Watch:
    """An audit hook, which cannot be removed: it acts while a directory is given."""

    def __init__(self):
        self.directory, self.seen, self.allowed = None, None, ()
        sys.addaudithook(self.hook)

    def hook(self, event, arguments):
        if self.directory is None:
            return
        if event == "open":
            path, _, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            if writes and not self._is_own(str(path)):
                self.seen = f"writes {path}"
        elif event == "shutil.rmtree":
            if not self._is_own(str(arguments[0])):
                self.seen = f"removes {arguments[0]}"
        elif event in FORBIDDEN and event not in self.allowed and not _importing(event):
            self.seen = f"{event} {arguments!r}"[:200]

    def _is_own(self, path):
        """Whether a path may be written to or removed: it is below the directory, or relative to that or to a
        descriptor of what is in it."""
        if path.startswith("/"):
            return path.startswith((f"{self.directory}/", "/dev/null", "/proc/self/clear_refs"))
        return ".." not in Path(path).parts and os.getcwd() == self.directory


def _importing(event):
    """Whether a module of ours is being imported, for which code is read from its file."""
    frame = sys._getframe(2)
    while frame and event in ("marshal.loads", "code.__new__", "ctypes.dlopen"):
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


@dataclass
class Outcome:
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds
    memory: int = 0  # bytes
    broken: list = field(default_factory=list)  # (number, words)

    @property
    def inputs(self):
        return self.accepted + self.refused + len(self.broken)

    def add(self, other):
        self.accepted += other.accepted
        self.refused += other.refused
        self.slowest, self.memory = max(self.slowest, other.slowest), max(self.memory, other.memory)
        self.broken += other.broken


def make(reader, number, seed, directory):
    """Write the files of one input; the path of the first one, which was mutated unless it was made by hand."""
    draw = mutations.drawn(reader, number, seed)
    _, seeds, by_hand = _reader(reader)
    if number < len(by_hand):
        return write(by_hand[sorted(by_hand)[number]], directory)
    files = seeds | by_hand
    first, *others = files[draw.choice(sorted(files))].items()
    return write(dict([(first[0], mutations.mutated(first[1], draw)), *others]), directory)


def write(files, directory):
    """Write {name: bytes}; returns the path of the first one."""
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory / next(iter(files))


def _reader(name, known={}):  # noqa: B006
    if name not in known:
        reader = readers.READERS[name]()
        known[name] = reader, reader.seeds(), reader.made_by_hand()
    return known[name]


def attempt(name, number, seed, directory, watch):
    """Read one input. Returns whether it is accepted; raises Broken, or what the reader raises."""
    from models.errors import UserError

    reader = _reader(name)[0]
    directory.mkdir()
    file = make(name, number, seed, directory)
    watch.directory, watch.seen, watch.allowed = str(directory), None, reader.allowed
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # the processor's
    signal.alarm(10 * SECONDS)
    accepted = True
    try:
        reader.read(directory, file)
    except (UserError, *reader.refusals) as error:
        accepted = False
        line = str(error)
        if "\n" in line or len(line) > LONGEST_LINE + 2 * len(str(directory)):
            raise Broken(f"message of {len(line)} characters: {line[:100]!r}") from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        watch.directory = None
        shutil.rmtree(directory, ignore_errors=True)
    if watch.seen:
        raise Broken(watch.seen)
    return accepted


def _too_slow(*_):
    raise Broken(f"more than {SECONDS} s")


def _limit_time():
    for number in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(number, _too_slow)


def work(task):
    """The Outcome of some inputs, in a process that holds no more than `MEMORY`."""
    import torch

    name, numbers, seed, place = task
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    _limit_time()
    watch, outcome = _watch(), Outcome()
    for number in numbers:
        began = time.process_time()
        try:
            accepted = attempt(name, number, seed, place / f"{name}-{number}", watch)
            outcome.accepted, outcome.refused = outcome.accepted + accepted, outcome.refused + (not accepted)
        except BaseException as error:  # whatever it is, the campaign goes on and tells it
            last = traceback.extract_tb(error.__traceback__)[-1]
            place_of = f"{Path(last.filename).name}:{last.lineno}"
            words = f"{type(error).__name__}: {' '.join(str(error).split())[:160]} ({place_of})"
            outcome.broken.append((number, words))
        outcome.slowest = max(outcome.slowest, time.process_time() - began)
    outcome.memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return name, outcome


def _watch(known=[]):  # noqa: B006
    if not known:
        known.append(Watch())
    return known[0]


def canaries(directory):
    """Files beside the inputs' directories, and the hash of all that is there."""
    for name in ("canary", "deeper/canary"):
        path = directory / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("alive")
    found = sorted((str(path.relative_to(directory)), path.read_bytes() if path.is_file() else b"")
                   for path in directory.rglob("*"))  # fmt: skip
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _tasks(inputs, names):
    """[(reader, range of numbers)], such that all readers come to their end at about the same time."""
    shares = {name: readers.READERS[name].share for name in names}
    counts = {name: max(1, round(inputs * share / sum(shares.values()))) for name, share in shares.items()}
    found = []
    for name, count in counts.items():
        steps = -(-max(counts.values()) // AT_ONCE)
        ends = [round(count * step / steps) for step in range(steps + 1)]
        found += [(step, name, range(ends[step], ends[step + 1])) for step in range(steps)]
    return [(name, numbers) for _, name, numbers in sorted(found, key=lambda task: task[0]) if numbers]


def run(inputs, seed, workers, names=tuple(readers.READERS), seconds=None):
    """{reader: Outcome} of so many inputs, shared among the readers; of fewer, where they take more seconds."""
    place = Path(tempfile.mkdtemp(prefix="hostile-"))
    (place / "inputs").mkdir()
    before = canaries(place / "canaries")
    tasks = [(name, numbers, seed, place / "inputs") for name, numbers in _tasks(inputs, names)]
    outcomes, began = {name: Outcome() for name in names}, time.monotonic()
    for name in names:
        _reader(name)  # the seeds are made once, before the processes
    try:
        with get_context("fork").Pool(workers) as pool, tqdm(total=inputs, unit="input", disable=None) as bar:
            for name, outcome in pool.imap_unordered(work, tasks):
                outcomes[name].add(outcome)
                bar.update(outcome.inputs)
                if seconds is not None and time.monotonic() - began > seconds:
                    pool.terminate()
                    break
        if canaries(place / "canaries") != before or {path.name for path in place.iterdir()} != {"inputs", "canaries"}:
            outcomes[names[0]].broken.append((-1, "something outside of the inputs' directories was changed"))
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return outcomes


def table(outcomes):
    lines = [f"{'reader':<12} {'inputs':>7} {'accepted':>8} {'refused':>7} {'broken':>6} {'slowest':>8} {'memory':>8}"]
    for name, found in outcomes.items():
        lines.append(f"{name:<12} {found.inputs:>7} {found.accepted:>8} {found.refused:>7} {len(found.broken):>6} "
                     f"{found.slowest:>6.1f} s {found.memory / 1e9:>5.1f} GB")
    for name, found in outcomes.items():
        kinds, first = Counter(), {}
        for number, words in found.broken:
            kind = re.sub(r"\d+|'[^']*'", "..", words)
            kinds[kind] += 1
            first.setdefault(kind, f"{words}, number {number}")
        lines += [f"{name}: {count} x {first[kind]}" for kind, count in kinds.most_common(40)]
    return "\n".join(lines)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--inputs", type=int, default=50_000)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--workers", type=int, default=os.cpu_count())
    p.add_argument("--minutes", type=float, help="end after so many, with a table of what was tried until then")
    p.add_argument("--reader", choices=readers.READERS, action="append")
    p.add_argument("--number", type=int, help="try this input of --reader alone")
    args = p.parse_args()
    if args.number is not None:
        _limit_time()
        with tempfile.TemporaryDirectory() as place:
            print(attempt(args.reader[0], args.number, args.seed, Path(place) / "input", _watch()))
        return
    seconds = None if args.minutes is None else 60 * args.minutes
    outcomes = run(args.inputs, args.seed, args.workers, tuple(args.reader or readers.READERS), seconds)
    print(table(outcomes))
    sys.exit(any(found.broken for found in outcomes.values()))


if __name__ == "__main__":
    main()
