"""Disturbs the commands at random moments: kill -9, or a disk that is full. What is there after starting again must be
what an undisturbed run leaves, byte for byte, and no partial file may remain.

    python tests/hostile/kills.py --disturbances 200
    python tests/hostile/kills.py --minutes 10          as many of them as there is time for

Disks are full in a tmpfs whose size is lowered to a random number of bytes below what the command writes; to mount one
takes root. Others get kills alone.
"""

import argparse
import hashlib
import itertools
import os
import pickletools
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
DATA = REPOSITORY / "tests" / "data"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "downloading"), str(REPOSITORY)]

KINDS = ("kill", "full disk")
LEFTOVERS = (".partial", ".part", ".part.json", ".lock", ".replaced", "/lock")
ROOMY = 1 << 30  # bytes of the tmpfs while nothing is disturbed
TIMEOUT = 600  # seconds
MEMORY = "peak_gib"  # in statistics


@dataclass
class Activity:
    """A command that works in a directory which `prepare` fills, and what became of its disturbed runs."""

    name: str
    command: list
    prepare: object
    expected: dict = field(default_factory=dict)  # {file: hash} that an undisturbed run leaves
    seconds: float = float("inf")
    written: int = 0  # bytes
    counts: Counter = field(default_factory=Counter)
    failures: list = field(default_factory=list)


@contextmanager
def roomy_directory():
    """(a directory, whether its size can be limited)."""
    with tempfile.TemporaryDirectory() as directory:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={ROOMY}", "tmpfs", directory]
        can_limit = os.geteuid() == 0 and not subprocess.run(mount, stderr=subprocess.DEVNULL).returncode
        try:
            yield Path(directory), can_limit
        finally:
            if can_limit:
                subprocess.run(["umount", "--lazy", directory], check=True)


def limit(directory, size):
    subprocess.run(["mount", "-o", f"remount,size={size}", str(directory)], check=True)


def used(directory):
    status = os.statvfs(directory)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def hashes(directory):
    """{file: SHA-256 of its lasting content} below a directory. Of the page on which a run shows itself there are none:
    which pictures it has depends on how much time there was."""
    return {file.relative_to(directory).as_posix(): hashlib.sha256(lasting(file)).hexdigest()
            for file in sorted(directory.rglob("*"))
            if file.is_file() and file.name != "progress.html" and file.parent.name != "progress"}


def lasting(file):
    """The bytes of a file without what depends on the machine: in records of downloads, when files changed; in a run's
    statistics and checkpoint, how much memory it has used."""
    content = file.read_bytes()
    if file.suffix == ".sha256":
        return b"\n".join(line for line in content.split(b"\n") if b"changed at" not in line)
    if file.name == "stats.json":
        return re.sub(rb'"peak_gib": [\d.]+', b"", content)
    if file.name == "checkpoint.pt":
        with zipfile.ZipFile(file) as archive:
            # Its id is a hash of its content.
            records = {name: archive.read(name) for name in archive.namelist() if "serialization_id" not in name}
        return repr({name: _without_memory(record) if name.endswith("data.pkl") else record
                     for name, record in records.items()}).encode()  # fmt: skip
    return content


def _without_memory(pickled):
    """A pickle with zeros as the values of its keys "peak_gib"."""
    content, operations, memo, pending = bytearray(pickled), [*pickletools.genops(pickled)], None, False
    for (operation, argument, position), (following, number, _) in itertools.pairwise(operations):
        if operation.name == "BINUNICODE" and argument == MEMORY:
            memo, pending = number if following.name.endswith("PUT") else None, True
        elif operation.name.endswith("GET") and argument == memo is not None:
            pending = True
        elif operation.name == "BINFLOAT" and pending:
            content[position + 1 : position + 9], pending = bytes(8), False
    return bytes(content)


class Runner:
    """Runs commands in a directory, in processes that need not import torch."""

    def __init__(self, server, directory):
        self.server, self.directory = server, directory
        self.errors = tempfile.TemporaryFile("w+")

    def renew(self, activity):
        for entry in self.directory.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        activity.prepare(self.directory)

    def run(self, activity, kill_after=None):
        """(exit code, what it said on stderr)."""
        self.errors.seek(0)
        self.errors.truncate()
        with open(os.devnull, "w") as nowhere:
            command = [sys.executable, *activity.command]
            process = self.server.start(command, cwd=self.directory, stdout=nowhere, stderr=self.errors)
        try:
            code = process.wait(kill_after or TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait(TIMEOUT)
        self.errors.seek(0)
        return code, self.errors.read()


def measure(activity, runner):
    """Run it undisturbed, twice: the first time also warms caches."""
    for _ in range(2):
        runner.renew(activity)
        before, began = used(runner.directory), time.monotonic()
        code, said = runner.run(activity)
        if code:
            raise SystemExit(f"{activity.name} failed undisturbed: {said}")
        found = hashes(runner.directory)
        if activity.expected not in ({}, found):
            raise SystemExit(f"{activity.name} leaves other bytes the second time: {differing(activity, found)}")
        activity.expected, activity.seconds = found, min(activity.seconds, time.monotonic() - began)
        activity.written = used(runner.directory) - before


def differing(activity, found):
    return sorted(file for file in activity.expected.keys() | found.keys()
                  if activity.expected.get(file) != found.get(file))


def disturb(activity, kind, runner, draw):
    """One disturbed run, and the one after it."""
    runner.renew(activity)
    where = draw.random()
    if kind == "kill":
        code, said = runner.run(activity, kill_after=where * activity.seconds)
    else:
        limit(runner.directory, used(runner.directory) + int(where * activity.written) // 4096 * 4096 + 4096)
        code, said = runner.run(activity)
        limit(runner.directory, ROOMY)
    activity.counts[kind] += 1
    activity.counts["hit"] += code != 0
    problems = []
    if "Traceback" in said or (kind == "full disk" and code not in (0, 1, 2)):
        problems.append(f"exit code {code}, {said[-600:]!r}")
    code, said = runner.run(activity)
    if code or "Traceback" in said:
        problems.append(f"exit code {code} after starting again, {said[-600:]!r}")
    found = hashes(runner.directory)
    problems += [f"{file} differs" for file in differing(activity, found)]
    names = [path.as_posix() for path in runner.directory.rglob("*")]
    problems += [f"{name} remains" for name in names if name.endswith(LEFTOVERS)]
    if problems:
        activity.failures.append(f"{activity.name}, {kind} at {where:.4f}: {'; '.join(problems)}")
        print(activity.failures[-1], file=sys.stderr, flush=True)


def activities(inputs, server):
    """The five, with inputs in a directory. server: the loopback server of the downloads."""
    import torch

    from models.clip_encoder import clip

    torch.manual_seed(0)
    network = clip.model.CLIP(32, 64, 2, 64, 16, 77, 49408, 64, 1, 1)
    torch.save(network.state_dict(), inputs / "clip.pt")
    (inputs / "faces.txt").write_text("a happy face | a sad face\na young face | an old face\n")
    gan = f"--gan={DATA / 'stylegan2_tiny.pth'}"
    training = [gan, f"--clip-model={inputs / 'clip.pt'}", f"--corpus={inputs / 'faces.txt'}", "--no-cuda",
                "--stylegan-space=W", "--loss=cossim", "--batch-size=2", "--max-iter=12", "--log-freq=1",
                "--ckp-freq=2", "--num-latent-support-dipoles=4"]  # fmt: skip
    sampling = [gan, "--num-samples=6", "--batch-size=2", "--no-cuda"]
    walk = ["--exp=exp", "--pool=stylegan2_tiny-6", "--no-cuda", "--shift-steps=2", "--eps=2"]
    made = {}

    def nothing(directory):
        """Begins in an empty directory."""

    def with_experiment(directory):
        shutil.copytree(made["inputs"], directory, dirs_exist_ok=True)

    def command(script, *arguments):
        return [str(REPOSITORY / script), *arguments]

    def made_by(runner, *first):
        """Keep what these leave as the input of walks and evaluations."""
        for activity in first:
            activity.prepare = nothing
            code, said = runner.run(activity)
            if code:
                raise SystemExit(said)
        made["inputs"] = inputs / "made"
        shutil.copytree(runner.directory / "experiments", made["inputs"] / "experiments")
        (experiment,) = (made["inputs"] / "experiments" / "complete").iterdir()
        experiment.rename(made["inputs"] / "exp")

    sample = Activity("sample_gan.py", command("sample_gan.py", *sampling), nothing)
    train = Activity("train.py", command("train.py", *training), nothing)
    pictures = ["--gif", "--strip", "--strip-height=32", "--gif-height=32", "--workers=1", "--batch-size=3"]
    walking = Activity("traverse_latent_space.py", command("traverse_latent_space.py", *walk, *pictures),
                       with_experiment)
    judge = ["--judge=portraits", "--samples=100", "--steps=2", "--batch-size=8"]
    evaluating = Activity("evaluate.py", command("evaluate.py", *walk, *judge), with_experiment)
    download = Activity("download.py", command("download.py", *served(inputs, server)), nothing)
    return [sample, train, walking, evaluating, download], lambda runner: made_by(runner, sample, train)


def served(inputs, server):
    """The arguments of downloads of an archive and a released experiment from a loopback server."""
    from loopback_server import Page
    from tiny_assets import CAR, DOG, Place, published_archives

    networks = {f"{name}.pth": (DATA / f"{name}.pth").read_bytes() for name in (CAR, DOG)}
    place = Place(inputs, server, published_archives(networks))
    for page in server.pages.values():
        page.instead = [lambda page, handler: slowly(page, handler, Page)]
    arguments = place.arguments("--contraclip-models")
    return ["--to=to", "--timeout=30", *(one for one in arguments if not one.startswith(("--to", "--timeout")))]


def slowly(page, handler, kind):
    """Send what is asked for within about half a second, so that a kill may come in between."""
    write = handler.wfile.write

    class Slow:
        def write(self, content):
            for start in range(0, len(content), max(1, len(content) // 20)):
                write(content[start : start + max(1, len(content) // 20)])
                time.sleep(0.02)

        def flush(self):
            handler_file.flush()

    handler_file, handler.wfile = handler.wfile, Slow()
    try:
        kind.send(page, handler)
    finally:
        handler.wfile = handler_file


def table(all_of_them):
    yield "| command | kills | full disks | hit before the end | wrong afterwards |"
    yield "|---|---|---|---|---|"
    for one in all_of_them:
        counts = one.counts
        yield f"| {one.name} | {counts['kill']} | {counts['full disk']} | {counts['hit']} | {len(one.failures)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disturbances", type=int, default=200, help="in all, of all commands")
    parser.add_argument("--minutes", type=float, default=float("inf"),
                        help="end after so many, with a table of what was disturbed until then")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="COMMAND", help="such as train.py")
    args = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

    import loopback_server
    import warm

    draw, end = random.Random(args.seed), time.monotonic() + 60 * args.minutes
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the disk is unmounted
    with (
        tempfile.TemporaryDirectory() as inputs, roomy_directory() as (directory, can_limit), warm.Server() as server,
        loopback_server.Server() as pages,
    ):  # fmt: skip
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        everything, make_inputs = activities(Path(inputs), pages)
        runner = Runner(server, directory)
        make_inputs(runner)
        chosen = [one for one in everything if not args.only or one.name in args.only]
        for one in chosen:
            measure(one, runner)
            print(f"{one.name}: {one.seconds:.1f} s, {one.written:,} bytes undisturbed", flush=True)
        for number in range(args.disturbances):
            if time.monotonic() > end:
                break
            kind = KINDS[number // len(chosen) % 2] if can_limit else "kill"
            disturb(chosen[number % len(chosen)], kind, runner, draw)
        pages.shutdown()
    print(*table(chosen), sep="\n")
    if not can_limit:
        print("no disk was full: to mount one takes root")
    sys.exit(1 if any(one.failures for one in chosen) else 0)


if __name__ == "__main__":
    main()
