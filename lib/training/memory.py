"""How much memory a training run needs: measured with small batches before it begins, and extrapolated.

The memory of a step grows in proportion to its batch, from some size on. So steps with 2, 4, 8 .. codes are measured,
until it is clear that the whole batch fits, or how fast the memory grows.
"""

import copy
import math
import resource
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from lib import distributed
from lib.training.frozen import FrozenHalf
from lib.training.step import step, to_device
from models.errors import UserError

SPARE = 0.1  # share of the free memory that is left to what is not measured, such as fragmentation
CLEAR = 2**26  # bytes between two measurements whose difference is more than the allocator's noise
COPIES = 4  # of a batch's codes: the ends, their leaves, the parts, and the gathered gradients
UNBOUNDED = 2**60  # the bytes of a step that ran out of memory
GIB = 2**30
CGROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Line:
    """bytes = start + slope * size."""

    start: float
    slope: float

    def at(self, size):
        return self.start + self.slope * size

    def largest(self, available, most):
        """The largest size, up to `most`, that needs at most `available` bytes; 0 or less if none does."""
        if self.at(most) <= available:
            return most
        return math.floor((available - self.start) / self.slope) if self.slope > 0 else 0


class Meter:
    """Measures the memory of a device: a GPU's, or for the CPU the process's RAM."""

    def __init__(self, device):
        self.device, self.on_gpu = torch.device(device), torch.device(device).type == "cuda"

    def reset(self):
        """Let `peak` begin anew. Returns whether that is possible here."""
        if self.on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def used(self):
        if self.on_gpu:
            return torch.cuda.memory_allocated(self.device)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def peak(self):
        """The most bytes that have been used at a time."""
        if self.on_gpu:
            return torch.cuda.max_memory_allocated(self.device)
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024

    def free(self):
        """Bytes that this process can still take; None where that is not known."""
        if self.on_gpu:
            free, _ = torch.cuda.mem_get_info(self.device)
            return free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return free_ram()


def free_ram():
    """Bytes of RAM that are free for this process, within its cgroup's limit; None where that is not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        own = Path("/proc/self/cgroup").read_text()
    except OSError:
        return None
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    free += free_in_cgroups(own)
    return min(free, default=None)


def free_in_cgroups(own, mounted=CGROUPS):
    """[free bytes] in each group that limits the memory, of version 1 or 2. own: the content of /proc/self/cgroup."""
    found = []
    for line in own.splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            root, limit, usage, cached = mounted, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root = mounted / "memory"
            limit, usage, cached = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in [group, *group.parents]:  # a limit holds for all groups below; in a container, `path` is outside
            if not folder.is_relative_to(root):
                break
            with suppress(OSError, ValueError, IndexError):  # "max": no limit
                most, used = (int((folder / name).read_text()) for name in (limit, usage))
                stat = (folder / "memory.stat").read_text().splitlines()
                found.append(most - used + next(int(one.split()[1]) for one in stat if one.split()[0] == cached))
    return found


class Needs:
    """What a step of a run needs, measured when it is asked for.

    method: with `trained` made. All processes must ask the same questions in the same order.
    """

    def __init__(self, method, settings):
        self.method, self.settings = method, settings
        self.meter = Meter(method.space.device)
        self.frozen = FrozenHalf(method.see, settings.precision or "fp32")
        self.share = -(-settings.batch_size // distributed.world_size())  # the codes of one process
        self.measurable = not distributed.largest(int(self.meter.free() is None or not self.meter.reset()))
        self.before = self.meter.used() if self.measurable else 0
        self.available = self._available() if self.measurable else UNBOUNDED
        self.lines = {}

    def fits(self):
        """Whether a step fits as the settings have it."""
        size = self.settings.micro_batch_size
        if size is None:
            return self.whole.at(self.share) <= self.available
        size = min(size, self.rows)
        return self.parts.at(size) <= self.available

    @property
    def whole(self):
        """The memory of a step in one pass, against the batch of one process."""
        return self._line("whole", 2, self.share, lambda size: self._step(size, None))

    @property
    def parts(self):
        """The memory of a step, against the images at a time."""
        def run(size):
            self._step(max(size, 2), size)

        most = min(self.settings.micro_batch_size or self.rows, self.rows)
        line = self._line("parts", self._first_part(), most, run)
        return Line(line.start + COPIES * self._ends(lambda end: end.nbytes), line.slope)

    def _first_part(self):
        """The images at a time that are measured first: as many as make a clear difference, by what is known of whole
        batches, and fit."""
        known = self.lines.get("whole")
        per_image = known.slope * self.share / self.rows if known else 0
        if per_image <= 0 or known.start >= UNBOUNDED:
            return 1
        fitting = (self.available - max(0, known.start)) / per_image / 2
        return max(1, math.floor(min(CLEAR / per_image + 1, fitting)))

    @property
    def rows(self):
        """How many images of its end this process makes."""
        return math.ceil(self._ends(len))

    def largest_part(self):
        """The largest --micro-batch-size that fits, evened out over its parts; 0 if none does."""
        most = self.parts.largest(self.available, self.rows)
        return -(-self.rows // -(-self.rows // most)) if most > 0 else 0

    def largest_batch(self):
        """The largest --batch-size that fits in one pass; 0 if none does."""
        fitting = max(0, self.whole.largest(self.available, self.share)) * distributed.world_size()
        return min(fitting, self.settings.batch_size)

    def _available(self):
        """Bytes for a step of this process, besides the optimiser's moments."""
        free = self.meter.free() // (1 if self.meter.on_gpu else distributed.processes_here())
        moments = 2 * sum(one.nbytes for one in self.method.trained.parameters() if one.requires_grad)
        return -distributed.largest(-int((1 - SPARE) * free - moments))

    def _ends(self, measure):
        """measure(the codes of an end), the largest of all ends, of this process's share of a batch."""
        probe = self._probe(2)
        with torch.no_grad(), _unchanged(self.method.trained):
            ends = probe.ends(to_device(probe.draw(0), self.method.space.device))
        return max(map(measure, ends)) / probe.settings.batch_size * self.share

    def _line(self, name, size, most, run):
        """The memory of run(size), a step. Sizes are doubled until it is clear whether `most` fits."""
        if name in self.lines:
            return self.lines[name]
        measured, size = [], min(size, most)
        while True:
            growth = self._growth(run, size)
            if growth == UNBOUNDED:
                break
            measured.append((size, growth))
            certain = math.floor(size * self.available / max(1, growth))  # memory grows at most in proportion
            is_clear = len(measured) > 1 and growth - measured[-2][1] >= CLEAR
            if certain >= most or is_clear or min(2 * size, most, certain) <= size:
                break
            size = min(2 * size, most, certain)
        self.lines[name] = _line_through(measured)
        return self.lines[name]

    def _growth(self, run, size):
        """By how many bytes run(size) raises the memory above what was used at first; of all processes, the most."""
        self.meter.reset()
        try:
            run(size)
            growth = max(0, self.meter.peak() - self.before)
        except torch.OutOfMemoryError:
            growth = UNBOUNDED
        return distributed.largest(growth)

    def _probe(self, size):
        """The method with a batch of `size` codes for each process."""
        probe = copy.copy(self.method)
        size = min(size * distributed.world_size(), self.settings.batch_size)
        probe.settings = replace(self.method.settings, batch_size=size)
        return probe

    def _step(self, size, micro_batch_size):
        """A step with a batch of that size."""
        probe = self._probe(size)
        with _unchanged(self.method.trained):
            step(probe, to_device(probe.draw(0), self.method.space.device), self.frozen, micro_batch_size)

    def refusal(self, at_once=None):
        """What is said where a step does not fit. at_once: images at a time that turned out not to fit."""
        part, batch = self.largest_part(), self.largest_batch()
        if at_once is not None:
            part, batch = min(part, at_once // 2), min(batch, batch * at_once // self.rows // 2)
        ways = [f"--batch-size {batch}"] * (batch >= max(2, distributed.world_size()))
        ways += [f"--micro-batch-size {part} (images at a time) with the batch as it is"] * (part > 0)
        advice = "the largest that fit are" if at_once is None else "try"
        told = f"{advice} {', or '.join(ways)}" if ways else "not even one image at a time fits"
        return f"{self._shortage(at_once)}: {told}"

    def _shortage(self, at_once):
        if at_once is not None:
            return f"the GPU ran out of memory with {at_once} images at a time"
        where = "the GPU" if self.meter.on_gpu else "RAM"
        size = self.settings.micro_batch_size
        needed = self.whole.at(self.share) if size is None else self.parts.at(min(size, self.rows))
        images = f"a batch of {self.settings.batch_size}" + ("" if size is None else f", {size} images at a time,")
        return f"{images} needs about {_gib(needed)} of {where}, and {_gib(self.available)} are free"


@contextmanager
def _unchanged(trained):
    """Leaves a module as it was, besides its weights, which no step of the optimiser changes."""
    buffers = {name: buffer.clone() for name, buffer in trained.named_buffers()}  # statistics of batch norm
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        trained.zero_grad(set_to_none=True)
        for name, buffer in trained.named_buffers():
            buffer.copy_(buffers[name])


def _line_through(measured):
    """The `Line` through the last two of the measurements (size, bytes); one alone is taken to be in proportion."""
    if not measured:
        return Line(UNBOUNDED, 0)
    (size, growth), *earlier = measured[::-1]
    if not earlier:
        return Line(0, growth / size)
    slope = max(0, growth - earlier[0][1]) / (size - earlier[0][0])
    return Line(growth - slope * size, slope)


def _gib(number):
    return f"{number / GIB:.1f} GiB"


def fitting_micro_batch_size(method, settings, automatic=False):
    """The micro-batch size of a run: that of its settings or, if `automatic`, what fits, None in one pass.

    method: with `trained` made. Raises UserError, naming what would fit, where a step does not.
    """
    needs = Needs(method, settings)
    if not needs.measurable or "batch_size" in method.unused or needs.fits():
        return settings.micro_batch_size
    part = needs.largest_part() if automatic else 0
    if part < 1:
        raise UserError(needs.refusal())
    return part


def out_of_memory(method, settings):
    """What is said of a run that ran out of the GPU's memory, though it had seemed to fit."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    needs = Needs(method, settings)
    at_once = min(settings.micro_batch_size or needs.rows, needs.rows)
    if distributed.world_size() > 1:  # the others do not know, and cannot measure with this one
        return (f"the GPU ran out of memory with {at_once} images at a time: try --micro-batch-size "
                f"{max(1, at_once // 2)}")
    return needs.refusal(at_once)
