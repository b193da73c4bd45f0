"""How the processes of one run notice that another is dead: each leaves signs of life in a store that all can read.

Silence is counted in a process's own beats, not in seconds. When a machine wakes from sleep, all of its processes have
paused together, and none takes the others for dead.
"""

import os
import sys
import threading

BEAT = 5.0  # seconds between two signs of life
SILENCE = 6  # own beats without a sign from another process, after which it counts as dead

_signs = None  # the store, once the processes have met
_rank = 0
_left = threading.Event()


def begin(store, rank):
    """Leave a first sign of life in `store`, before the processes meet, so that afterwards each finds a sign of all."""
    global _signs, _rank
    _signs, _rank = store, rank
    _signs.set(f"beat/{rank}", "0")


def watch(world_size):
    """Leave signs from now on, and look for those of the other processes, which have all called `begin`.

    If another process ends or stops responding, this one ends with exit code 1 within BEAT * (SILENCE + 1) seconds,
    however long a step takes.
    """
    threading.Thread(target=_watch, args=(world_size,), daemon=True).start()


def beats():
    return _signs is not None


def end():
    """Stop watching: the run is over, and other processes may end before this one."""
    global _signs
    _left.set()
    _signs = None


def is_first_to_tell():
    """Whether this process is the first one of the run to ask this."""
    try:
        return _signs.add("told", 1) == 1
    except RuntimeError:  # the store is gone, with the process or the machine that kept it
        return _rank == 0


def _watch(world_size):
    signs, names = _signs, [f"beat/{r}" for r in range(world_size)]
    seen, silent, beat = [None] * len(names), [0] * len(names), 0
    while not _left.wait(BEAT):
        beat += 1
        try:
            signs.set(names[_rank], str(beat))
            found = signs.multi_get(names)
        except RuntimeError:
            if _left.is_set():
                return
            _end_process("the machine of the first process")
        silent = [count + 1 if new == old else 0 for count, new, old in zip(silent, found, seen)]
        seen = found
        if max(silent) >= SILENCE:
            _end_process(f"process {silent.index(max(silent))} of this run")


def _end_process(who):
    """End this process from a thread, since its main thread may be waiting for the dead process."""
    if is_first_to_tell():
        message = f"{who} has given no sign of life for {BEAT * SILENCE:.0f} s: the last checkpoint is kept"
        print(f"\n{message}, run the same command to resume", file=sys.stderr, flush=True)
    os._exit(1)
