"""The processes that torchrun started, as one run. A process that was started alone is a run of one process.

All processes hold the same trained weights and take the same steps, each with a share of the images. Features and
gradients are gathered in the order of the ranks, so that no sum depends on which process finished first.
"""

import os
import time
import uuid
from contextlib import contextmanager

from lib import heartbeat
from models.errors import UserError

MEETING = 300  # seconds that processes wait for each other at the start


class Lost(Exception):
    """Another process of the run has ended."""


def rank():
    return int(os.environ.get("RANK", 0))


def world_size():
    return int(os.environ.get("WORLD_SIZE", 1))


def processes_here():
    """How many processes of the run share this machine's memory."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def is_first():
    return rank() == 0


def join(device):
    """Meet the other processes; returns this one's device. Raises UserError if there are fewer GPUs than processes.

    From then on, `heartbeat` ends this process soon after another one ends or stops responding. An exchange with a
    process whose connection has closed fails at once.
    """
    if world_size() == 1:
        return device
    import torch
    import torch.distributed as dist

    if device.index is not None or device.type == "mps":
        raise UserError(f"--device={device} is one device, and several processes need one each: give --device=cuda or "
                        "cpu")
    if device.type == "cuda":
        index = int(os.environ.get("LOCAL_RANK", 0))
        if index >= torch.cuda.device_count():
            raise UserError(f"there is no GPU for process {index} of this machine, which has "
                            f"{torch.cuda.device_count()}: start as many processes as GPUs, or add --no-cuda")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    with _together():
        common, _, _ = next(dist.rendezvous("env://"))
        meeting = _meet(common)
        store = dist.PrefixStore(meeting, common)
        # A separate connection, since one that is waiting cannot be used for anything else.
        heartbeat.begin(dist.PrefixStore(meeting, common.clone()), rank())
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank(), world_size=world_size())
    heartbeat.watch(world_size())
    return device


def _meet(store):
    """A name that only the processes of this start share. torchrun's store survives a restart, with all the keys of the
    processes that have ended, so the first process makes up a new name and tells it to those that ask."""
    own = uuid.uuid4().hex
    if not is_first():
        store.set(f"hello/{rank()}", own)
        meeting = store.get(f"welcome/{own}").decode()  # waits until it is there
        store.set(f"{meeting}/here/{rank()}", "")
        return meeting
    absent, deadline = set(range(1, world_size())), time.monotonic() + MEETING
    while absent:
        for other in sorted(absent):
            if store.check([f"hello/{other}"]):
                store.set(f"welcome/{store.get(f'hello/{other}').decode()}", own)
        absent = {other for other in absent if not store.check([f"{own}/here/{other}"])}
        if time.monotonic() > deadline:
            raise Lost(f"process {min(absent)} of this run has not joined within {MEETING} s: start all of them again")
        time.sleep(0.02)
    return own


def wait():
    """Wait until all processes have come here."""
    if world_size() == 1:
        return
    import torch.distributed as dist

    with _together():
        dist.barrier()


def leave():
    """Wait until all processes have called this, then go on alone. Does nothing before they have met, or after."""
    if not heartbeat.beats():
        return
    import torch.distributed as dist

    with _together():
        dist.barrier()
    heartbeat.end()
    dist.destroy_process_group()


def share(items):
    """This process's items of a list: of n processes, each has every n-th item."""
    return items[rank() :: world_size()]


def rows(total):
    """This process's rows of a batch, a slice. Shares are in the order of the ranks and differ by one row at most."""
    return slice(rank() * total // world_size(), (rank() + 1) * total // world_size())


def gather(own, total):
    """The rows (n, ...) of all processes, divided as by `rows`, without their graphs: (total, ...) on each process."""
    if world_size() == 1:
        return own.detach()
    import torch
    import torch.distributed as dist

    most = -(-total // world_size())
    padded = own.new_zeros(most, *own.shape[1:])
    padded[: len(own)] = own.detach()
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    with _together():
        dist.all_gather(parts, padded)
    bounds = [r * total // world_size() for r in range(world_size() + 1)]
    return torch.cat([part[: after - before] for part, before, after in zip(parts, bounds, bounds[1:])])


def may_tell():
    """Whether this process is to print an error: of several processes, the first one that asks."""
    return heartbeat.is_first_to_tell() if heartbeat.beats() else is_first()


def from_first(compute):
    """The result of compute() in the first process, returned in all of them; the others do not call it."""
    if world_size() == 1:
        return compute()
    import torch.distributed as dist

    result = [compute() if is_first() else None]
    with _together():
        dist.broadcast_object_list(result, src=0, device="cpu")
    return result[0]


def largest(number):
    """The largest of the processes' whole numbers."""
    if world_size() == 1:
        return number
    import torch
    import torch.distributed as dist

    found = torch.tensor(number)
    with _together():
        dist.all_reduce(found, dist.ReduceOp.MAX)
    return found.item()


@contextmanager
def _together():
    """Wraps exchanges, which fail in many ways when a process has ended."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise Lost(f"another process of this run has ended ({reason}): the last checkpoint is kept, run the same "
                   "command to resume") from None
