"""traverse_latent_space.py as a process that is killed, interrupted, out of disk: what is left, and how it goes on."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch
from beside import TIMEOUT

from lib.files import save_tensors, write_json
from lib.paths.support_sets import LatentSupportSets

COMMAND = Path(__file__).resolve().parent.parent / "traverse_latent_space.py"
NUM_CODES, NUM_PATHS = 2, 2


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, data):
    """A directory with a pool of two codes and an experiment of two random paths."""
    directory = tmp_path_factory.mktemp("workplace")
    for z in torch.randn(NUM_CODES, 32, generator=torch.Generator().manual_seed(0)).split(1):
        save_tensors(z.clone(), directory / "pool" / f"{z[0, 0]:+f}" / "latent_code_z.pt")
    experiment = directory / "experiment"
    args = {"gan": str(data / "stylegan2_tiny.pth"), "stylegan_space": "W", "stylegan_layer": None, "truncation": 1.0}
    write_json(args, experiment / "args.json")
    write_json([["bright", "dark"], ["old", "young"]], experiment / "models" / "semantic_dipoles.json")
    paths = LatentSupportSets.random(NUM_PATHS, 4, 32, 6.0, 0.5, torch.Generator().manual_seed(0))
    save_tensors(paths.state_dict(), experiment / "models" / "latent_support_sets.pt")
    return directory


class Walk:
    """The command at work, below `name` in the workplace: a pool of its own name has results of its own."""

    def __init__(self, start, workplace, name, steps, *flags, prefix=()):
        pool = workplace / name
        if not pool.exists():
            pool.symlink_to("pool")
        self.results = workplace / "experiment" / "results" / name / f"{2 * steps}_0.2_{round(0.4 * steps, 3)}"
        command = [*prefix, sys.executable, COMMAND, "--exp=experiment", f"--pool={name}", f"--shift-steps={steps}"]
        command += ["--frames", "--strip", "--strip-height=32", "--gif", "--gif-height=96", "--no-cuda"]
        command += ["--batch-size=3", *flags]
        self.errors = tempfile.TemporaryFile("w+")
        with open(os.devnull, "w") as nowhere:
            self.process = start(command, cwd=workplace, stdout=nowhere, stderr=self.errors, start_new_session=True)

    def until(self, pictures):
        """Wait until so many images are there, the hidden ones too."""
        deadline = time.monotonic() + TIMEOUT
        while len(self.images()) < pictures:
            assert self.process.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.005)
        return self

    def said(self):
        self.errors.seek(0)
        return self.errors.read()

    def images(self):
        """The frames' files, those in hidden directories too."""
        walked = os.walk(self.results)  # which takes no offence at a directory that is renamed meanwhile
        files = [Path(folder) / file for folder, _, files in walked for file in files]
        return [file for file in files if file.parent.parent.name == "paths_images" and file.name[0] != "."]

    def times(self):
        """{an image's name below its code's directory, hidden or not: when it was written}."""
        names = {image: image.relative_to(self.results).as_posix() for image in self.images()}
        return {name.replace(".partial", "").lstrip("."): image.stat().st_mtime_ns for image, name in names.items()}

    def others(self):
        """The processes of its session besides itself."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split() if entry.name.isdigit() else []
            except OSError:  # has just ended
                continue
            if fields and int(fields[3]) == self.process.pid != int(entry.name) and fields[0] != "Z":
                found.append(int(entry.name))
        return found

    def end(self, number):
        """Send a signal to all processes of the session, as a terminal does, or SIGKILL to the command alone."""
        if number == signal.SIGKILL:
            self.process.kill()
        else:
            os.killpg(self.process.pid, number)
        return self.ended()

    def ended(self):
        """(exit code, what it said)."""
        code = self.process.wait(timeout=TIMEOUT)
        return code, self.said()

    def contents(self):
        return {str(f.relative_to(self.results)): f.read_bytes() for f in self.results.rglob("*") if f.is_file()}


@pytest.fixture(scope="module")
def undisturbed(warm, workplace):
    walk = Walk(warm.start, workplace, "undisturbed", 12)
    code, stderr = walk.ended()
    assert code == 0, stderr
    return walk.contents()


def test_a_walk_that_is_stopped_again_and_again_ends_as_one_that_was_not(warm, workplace, undisturbed):
    total = NUM_CODES * NUM_PATHS * 25
    walk = Walk(warm.start, workplace, "stopped", 12, "--workers=2").until(15)
    others = walk.others()
    assert len(others) >= 2
    assert walk.end(signal.SIGKILL)[0] == -signal.SIGKILL
    deadline = time.monotonic() + TIMEOUT
    while walk.others() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert walk.others() == []  # the processes that encode have ended with it
    killed = walk.times()

    walk = Walk(warm.start, workplace, "stopped", 12, "--workers=2").until(total // 2 + 20)
    code, stderr = walk.end(signal.SIGINT)
    assert code == 130 and stderr.splitlines()[-1].endswith("interrupted") and "Traceback" not in stderr
    interrupted = walk.contents()
    assert not [name for name in interrupted if name.endswith(".partial")]  # no half-written file
    whole = [path for path in walk.results.iterdir() if not path.name.startswith(".")]
    assert len(whole) == 1  # what is shown by its name is complete
    for code in whole:
        assert {name for name in interrupted if name.startswith(code.name)} == {
            name for name in undisturbed if name.startswith(code.name)
        }

    walk = Walk(warm.start, workplace, "stopped", 12, "--workers=2").until(total // 2 + 40)
    walk.process.terminate()
    code, stderr = walk.ended()
    assert code == 143 and stderr.splitlines()[-1].endswith("terminated") and "Warning" not in stderr
    assert not [name for name in walk.contents() if name.endswith(".partial")] and walk.others() == []

    full = ["bash", "-c", 'ulimit -f 20; exec "$@"', "bash"]  # files of 20 KiB at most: like a disk that is full
    walk = Walk(subprocess.Popen, workplace, "stopped", 12, "--workers=1", prefix=full)
    code, stderr = walk.ended()
    assert code == 2 and "Traceback" not in stderr
    assert "File too large" in stderr.splitlines()[-1] and "paths_strips" in stderr.splitlines()[-1]

    walk = Walk(warm.start, workplace, "stopped", 12)
    code, stderr = walk.ended()
    assert code == 0, stderr
    found = walk.contents()
    for page in ("index.html", "results.md", "results_strips.md"):
        found[page] = found[page].replace(b"stopped", b"undisturbed")
    assert found == undisturbed
    assert len(killed) >= 15 and killed.items() <= walk.times().items()  # what was there was not made again


MEASURE = """
import resource
from pathlib import Path

import torch

from lib.files import save_tensors
from lib.latent_space import ZSpace
from lib.paths.support_sets import LatentSupportSets
from lib.settings import WalkSettings
from lib.walking.traversal import traverse


class Waves(torch.nn.Module):
    # Codes (B, 4) -> images (B, 3, 512, 512), 0.8 MB each as bytes.
    resolution, z_dim = 512, 4

    def __init__(self):
        super().__init__()
        self.x = torch.nn.Parameter(torch.linspace(0, 9, 512), requires_grad=False)

    def from_z(self, codes, psi=1.0, resolution=None):
        waves = torch.sin(codes[:, :3, None] + self.x)
        return waves[..., None] * waves[:, :, None]


def walk(codes, steps):
    sources = [Path(f"{codes}_{i}") for i in range(codes)]
    for i, source in enumerate(sources):
        save_tensors(torch.full((1, 4), float(i)), source / "latent_code_z.pt")
    settings = WalkSettings(shift_steps=steps, eps=0.1, img_quality=50, strip=True, strip_number=3, strip_height=16,
                            gif=True, gif_height=32, gif_fps=20)
    list(traverse(ZSpace(Waves()), paths, sources, Path(f"{codes}_{steps}"), settings, workers=0))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


paths = LatentSupportSets.random(2, 4, 4, 2.0, 0.5, torch.Generator().manual_seed(0)).requires_grad_(False)
walk(1, 4)
walk(1, 60)
walk(4, 4)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells peak memory in kilobytes")
def test_memory_does_not_grow_with_steps_or_codes(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(COMMAND.parent)}
    command = [sys.executable, "-c", MEASURE]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    short, long, many = map(int, process.stdout.split())
    # MB. The frames of one long path are 95; what is seen, 3 to 10, is how the allocator happens to fill its pages.
    assert long - short < 20 and many - short < 20, process.stdout
