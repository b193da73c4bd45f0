"""What a command sets before it imports anything else: what signals do, and what OpenMP and cuBLAS read.

A signal may come at any moment. Until `run` of `lib.command_line` is there to catch it, it ends the process at once.
Later it raises `Terminated` or KeyboardInterrupt, but never within an import: modules in C swallow such exceptions, or
turn them into others. If nothing has been begun by then, the process ends at once; otherwise once the import is done.
Where the exception is swallowed all the same, as in `__del__`, it is raised once more.
"""

import os
import signal
import sys
import time

CODES = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}
PATIENCE = 0.05  # seconds until an import that goes on is looked at again

# What tells idle OpenMP threads how long to spin.
SPINNING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
BRIEFLY = "3000"  # turns of a loop, about a hundred microseconds; by default 300,000
BUSY = 0.5  # processors that others use
SHORTEST = 0.04  # seconds in which that can be measured: the system counts in hundredths


class Terminated(BaseException):
    """Raised on SIGTERM, which kill and batch systems send, so that everything is closed as on Ctrl-C."""


_begun = False
_others_before = 0.0, None  # when `begin` was called, and `_others_seconds` then
_at_work = None  # says whether anything has been begun; None while nobody catches what is raised
_waiting = None  # the number of a signal that waits for the end of an import, or of what no exception can leave
raised = None  # the number of the signal that was raised
has_stderr = True


def begin():
    """Set all this. Does nothing the second time, as where a script has done it before `run`."""
    global _begun, _others_before
    if _begun:
        return
    _begun = True
    _open_streams()
    _others_before = time.monotonic(), _others_seconds()
    if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:  # as in a shell's background
        signal.signal(signal.SIGINT, _handle)
    if "RANK" not in os.environ:  # torchrun's SIGTERM must end processes at once: they may be waiting in an exchange
        signal.signal(signal.SIGTERM, _handle)
    signal.signal(signal.SIGALRM, _look_again)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # the same sums each time, see `repeatable`
    sys.unraisablehook = _raise_again


def choose_waiting():
    """Decide how long idle OpenMP threads spin, before torch is imported, unless the user has decided.

    By default they spin so long that a run whose core another process wants takes 13 times the processor time
    (docs/performance.md). If others were at work during the imports, they sleep at once. Otherwise they spin briefly:
    a run that is alone loses nothing by it, and less than half as much as by default if others come later.
    """
    if any(name in os.environ for name in SPINNING):
        return
    (began, before), others = _others_before, _others_seconds()
    seconds = time.monotonic() - began
    is_known = before is not None and others is not None and seconds >= SHORTEST
    if is_known and (others - before) / seconds > BUSY:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    else:
        os.environ["GOMP_SPINCOUNT"] = BRIEFLY


def _others_seconds():
    """Processor time that other processes have taken so far on the cores that are ours; None where nothing tells."""
    try:
        with open("/proc/stat") as file:
            lines = [line.split() for line in file]
    except OSError:
        return None
    cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    ticks = sum(sum(map(int, [*numbers[:3], *numbers[5:7]])) for core, *numbers in lines if core in cores)
    return ticks / os.sysconf("SC_CLK_TCK") - sum(os.times()[:2])


def catch_signals(at_work):
    """From now on the caller catches what signals raise. at_work: says whether anything has been begun on disk."""
    global _at_work
    _at_work = at_work


def end_at_signals():
    """From now on signals end the process at once, as does one that has waited until now for the end of an import."""
    global _at_work
    _at_work = None
    if _waiting is not None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _end(_waiting)


def _open_streams():
    """Where a standard stream is closed, the next file that is opened would get its number, and what it is told."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    global has_stderr
    has_stderr = sys.stderr is not None
    sys.stdout, sys.stderr = (stream or open(os.devnull, "w") for stream in (sys.stdout, sys.stderr))


def _handle(number, frame):
    global _waiting
    importing = _is_import(frame)
    if _at_work is None or _waiting or (importing and not _at_work()):
        _end(number)
    if importing:
        _waiting = number
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    else:
        _raise(number)


def _look_again(_, frame):
    global _waiting
    if _waiting is None:
        return
    if _is_import(frame):
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    else:
        number, _waiting = _waiting, None
        _raise(number)


def _raise_again(unraisable):
    """Called with an exception where none can get out, as in what the garbage collector calls: one that a signal has
    raised waits until it is over."""
    global _waiting
    if raised and isinstance(unraisable.exc_value, (KeyboardInterrupt, Terminated)):
        _waiting = raised
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    else:
        sys.__unraisablehook__(unraisable)


def _is_import(frame):
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


def _raise(number):
    global raised
    raised = number
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated


def _end(number):
    what, code = CODES[number]
    if os.environ.get("RANK", "0") == "0":
        try:
            os.write(2, f"{os.path.basename(sys.argv[0])}: {what}\n".encode(errors="replace"))
        except OSError:  # nobody is there to be told
            pass
    os._exit(code)
