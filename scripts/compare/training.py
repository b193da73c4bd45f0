"""Training by train.py, in a process of its own, within a budget of processor time on one core.

How many iterations fit is measured first: the processor time of a run without iterations, and that of a short one. The
number that follows is kept in the results, so that all seeds, and whoever runs the comparison again from them, train as
long.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from lib.files import read_json, write_json
from models.errors import UserError
from scripts.compare.contenders import CONTENDERS
from scripts.compare.worlds import WORLDS

REPOSITORY = Path(__file__).resolve().parent.parent.parent
PROBES = 8, 64  # iterations of the short run; the longer one where these take less than PROBED seconds
PROBED = 3
LOOKED = 0.1  # seconds between two looks at a process' memory
FACTS = "comparison.json"  # in an experiment's directory: what its training took
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}


def flags_of(values):
    """{"max-iter": 5, "learn-gammas": True, "lr": None} -> ["--max-iter=5", "--learn-gammas"]."""
    found = []
    for name, value in values.items():
        if value is None:
            continue
        if isinstance(value, tuple):
            found += [f"--{name}", *map(str, value)]
        else:
            found.append(f"--{name}" if value is True else f"--{name}={value}")
    return found


def command(script, cwd, flags, clock=False):
    """Run one of the repository's commands on one thread -> (processor seconds, peak bytes).

    clock: whether to take the seconds of the clock, as on a GPU.

    Raises UserError with the command's own line where it refuses.
    """
    cwd.mkdir(parents=True, exist_ok=True)
    log, begun = cwd / "log.txt", time.monotonic()
    with open(log, "w") as out:
        process = subprocess.Popen([sys.executable, str(REPOSITORY / script), *flags], cwd=cwd, stdout=out,
                                   stderr=subprocess.STDOUT, env=os.environ | ONE_THREAD)  # fmt: skip
        try:
            usage, peak = _ended(process)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode:
        words = log.read_text().strip().splitlines()[-1:] or [""]
        raise UserError(words[0].partition("error: ")[2] or f"{script} ended with code {process.returncode}, see {log}")
    return time.monotonic() - begun if clock else usage.ru_utime + usage.ru_stime, peak


def _ended(process):
    """Wait for a process -> (its resource usage, peak of its resident memory in bytes). The usage has a peak too, but
    not below that of this process, which it was forked from."""
    status, peak = Path(f"/proc/{process.pid}/status"), 0
    while True:
        found = re.search(r"VmHWM:\s+(\d+)", status.read_text())
        peak = max(peak, 1024 * int(found[1]) if found else 0)
        ended, code, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            process.returncode = os.waitstatus_to_exitcode(code)
            return usage, peak
        time.sleep(LOOKED)


def train_flags(run, pool=None):
    """All flags of a run but its number of iterations."""
    contender, world = CONTENDERS[run.contender], WORLDS[run.world]
    values = {"method": contender.method, "stylegan-space": contender.space if world.has_w else None} | world.flags
    if contender.reads_numbers and world.numbers:
        values |= {"numbers": world.numbers}
    elif contender.reads_corpus:
        values |= {"corpus": world.corpus}
    values |= {"pool": pool} if contender.per_code else {}
    return values | {name: value for name, value in run.flags.items() if name != "max-iter"}


def rate_key(run):
    """What decides how long an iteration takes."""
    contender = CONTENDERS[run.contender]
    deciding = [f"{name}={run.flags[name]}" for name in contender.cost if run.flags.get(name) is not None]
    return "/".join([run.world, run.contender, *deciding])


def measured_rate(run, directory, pool, results, clock):
    """{"start": processor seconds before the first iteration and after the last one, "iteration": of each}, from the
    results, or measured now."""
    key = rate_key(run)
    if key not in results.rates:
        flags = train_flags(run, pool)

        def seconds(count):
            shutil.rmtree(directory, ignore_errors=True)
            return command("train.py", directory, flags_of(flags | {"max-iter": count}), clock)[0]

        first = seconds(1)
        for count in PROBES:
            passed = max(seconds(1 + count) - first, 1e-3)
            if passed > PROBED:
                break
        shutil.rmtree(directory)
        results.add_rate(key, {"start": first - passed / count, "iteration": passed / count})
    return results.rates[key]


def iterations(run, rate, budget):
    """How many iterations fit into the budget, at least one and at most as many as were published."""
    published = run.flags.get("max-iter")
    fitting = max(1, int((budget * run.factor - rate["start"]) / rate["iteration"]))
    return min(fitting, round(published * max(1, run.factor)))


def train(run, directory, results, pool=None, only_kept=False):
    """Train a run, unless it is there already -> (the experiment's directory, what is known of its training).

    directory: a place for all of the contender's runs. pool: the codes of a contender that edits given codes alone.
    only_kept: whether to return None instead of training it. Raises UserError where train.py refuses the settings.
    """
    contender, name = CONTENDERS[run.contender], name_of(run, pool)
    budget, clock = results.conditions["budget"], results.conditions["clock"]
    home = directory / (f"kept-seed{run.seed}" if contender.keeps else name)
    found = _complete(home, name)
    if found and (found / FACTS).is_file():
        return found, read_json(found / FACTS)
    if only_kept:
        return None
    flags, count = train_flags(run, pool) | {"seed": run.seed, "exp-id": name}, None
    if not contender.closed_form:
        count = iterations(run, measured_rate(run, directory / f"probe-{name}", pool, results, clock), budget)
        flags |= {"max-iter": count}
    for stale in filter(None, (found, home / "experiments" / "wip")):
        shutil.rmtree(stale, ignore_errors=True)
    seconds, memory = command("train.py", home, flags_of(flags), clock)
    if contender.keeps:
        seconds = _with_what_was_kept(home / "measuring_seconds.txt", seconds)
    found = _complete(home, name)
    facts = {"iterations": count, "seconds": seconds, "memory": memory, "numbers": trained_numbers(found)}
    write_json(facts, found / FACTS)
    return found, facts


def name_of(run, pool=None):
    """The --exp-id of a run."""
    return run.key.rpartition("/")[2] + (f"-{Path(pool).name}" if pool else "")


def _complete(home, name):
    """The directory of a finished experiment whose --exp-id is `name`, or None."""
    return next(iter(sorted((home / "experiments" / "complete").glob(f"*-{name}"))), None)


def _with_what_was_kept(file, seconds):
    """Of runs that take over what the first one has measured: the first one's time, if it is longer."""
    if not file.is_file():
        file.write_text(f"{seconds}\n")
    return max(seconds, float(file.read_text()))


def trained_numbers(experiment):
    """How many numbers the optimiser has trained: those that it keeps running means for."""
    import torch

    from models.untrusted.tensor_files import load_tensors

    states = load_tensors(experiment / "models" / "checkpoint.pt")["optimizer"]["state"].values()
    return sum(max(one.numel() for one in state.values() if isinstance(one, torch.Tensor)) for state in states)
