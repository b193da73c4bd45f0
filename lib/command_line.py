"""What the commands share: reading arguments, choosing the device, stopping, and the exit code."""

import argparse
import os
import re
import signal
import sys
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from lib import distributed, startup
from models import directories
from models.errors import UserError, one_line, quoted

ROOT = Path(__file__).resolve().parent.parent
NO_MEMORY = re.compile("can't allocate memory|out of memory", re.IGNORECASE)
GLUED = re.compile(r"^(--[\w-]+=[^\s=]*?)(--[a-z][\w-]*=\S*)$")


def unglue(arguments):
    """Split arguments that a missing space has joined: the published README has `--log-freq=10--ckp-freq=100`."""
    parted = []
    for argument in arguments:
        match = GLUED.match(argument)
        parted += [match[1], *unglue([match[2]])] if match else [argument]
    return parted


class Parser(argparse.ArgumentParser):
    """An error is one line, without the usage, which is long here. Prints in the first process only, since all
    processes of a run have the same arguments."""

    def parse_args(self, args=None, namespace=None):
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found

    def error(self, message):
        self.exit(2, one_line(f"{self.prog}: error: {message}") + "\n")

    def _unknown(self, argument):
        flag = argument.partition("=")[0]
        if not flag.startswith("-"):
            return f"{argument!r} belongs to no flag: quote a value that has spaces"
        near = get_close_matches(flag, self._option_string_actions, n=1)
        return f"there is no flag {flag}: " + (f"did you mean {near[0]}?" if near else "-h lists all flags")

    def _print_message(self, message, file=None):
        if distributed.is_first():
            super()._print_message(message, file)


class Formatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the default of each flag that has one, and descriptions as they are written."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=32, width=110)

    def _get_help_string(self, action):
        has_default = action.default not in (None, "") and not isinstance(action.default, bool)
        return super()._get_help_string(action) if has_default else action.help


def add_path_arguments(group):
    """The flags that say which paths are opened, besides --exp."""
    from lib.arguments import number
    from lib.settings import SHARE

    group.add_argument("--directions", metavar="FILE",
                       help="instead of an experiment, a file of directions: .npy, .npz, .pt or .safetensors of (K, d) "
                            "or (K, L, d), as InterFaceGAN and GANSpace leave them, or --export-directions")
    group.add_argument("--gan", metavar="FILE",
                       help="the generator, if the experiment or file does not name it; its file, if that has moved; "
                            "or python:FILE:FUNCTION, whose code is run")
    group.add_argument("--stylegan-space", choices=("Z", "W", "W+", "S"),
                       help="the space of a file of directions, or of a published checkpoint, that does not say it")
    group.add_argument("--truncation", type=number(float, SHARE), metavar="PSI",
                       help="with --directions: of the codes (default: what the file says, or 1)")


def add_chosen_paths(group):
    """The flag that limits a command to some of the paths."""
    group.add_argument("--paths", metavar="LIST",
                       help="only these paths, by numbers and words of their sentences, as 0,smiling (default: all)")


def check_path_arguments(args):
    """Raise UserError where the flags of `add_path_arguments` do not go with --exp."""
    if args.directions is None and args.truncation is not None:
        raise UserError("--truncation goes with --directions: an experiment has its own")


def add_device_arguments(parser):
    group = parser.add_argument_group("device")
    group.add_argument("--cuda", action="store_true", default=True, help="use a CUDA device if there is one (default)")
    group.add_argument("--no-cuda", dest="cuda", action="store_false", help="stay on the CPU")
    group.add_argument("--device", default=argparse.SUPPRESS, metavar="DEVICE",
                       help="cpu, cuda, cuda:N or mps, instead of --cuda and --no-cuda")
    group.add_argument("--ops", default="auto", choices=("auto", "cuda", "reference"),
                       help="on a GPU, auto: our CUDA kernels if they can be compiled; cuda: our kernels or an error; "
                            "reference: plain PyTorch")
    return group


def choose_device(args):
    """The device to compute on. Also sets which implementation of `models.ops` the generators use, from --ops.

    args: what --cuda, --ops and --device gave, or settings with these names. Raises UserError if there is no such
    device, if flags contradict each other, and for --ops=cuda if the kernels cannot be compiled.
    """
    import torch

    from models.ops import set_ops

    name = getattr(args, "device", None)
    if not args.cuda and name not in (None, "cpu"):
        raise UserError(f"--device={name} contradicts --no-cuda: leave out one of the two")
    device = _device(name or ("cuda" if args.cuda and torch.cuda.is_available() else "cpu"))
    if args.ops == "cuda" and (not args.cuda or name == "cpu"):
        flag = "--device=cpu" if args.cuda else "--no-cuda"
        raise UserError(f"--ops=cuda needs a CUDA device and contradicts {flag}: leave out one of the two")
    set_ops(args.ops)
    return device


def _device(name):
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda", "mps"):
        raise UserError(f"--device {quoted(name)} is not a device: give cpu, cuda, cuda:N or mps")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError("this machine, or this PyTorch, has no mps: leave out --device")
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UserError(f"there is no {name} here, where PyTorch finds {count} CUDA devices: leave out --device")
    return device


def run(main):
    """Run a command's main(arguments) and exit: with code 0; with 2 and one line for an error that the user can fix;
    with 130 on Ctrl-C; with 143 on SIGTERM.

    If several processes fail together, only one of them prints the error.
    """
    startup.begin()
    try:
        startup.catch_signals(directories.any_held)
        startup.choose_waiting()
        main(unglue(sys.argv[1:]))
        sys.stdout.flush()
    except BaseException as error:
        startup.end_at_signals()
        message, code = _told(error)
        if message:
            _fail(message, code)
        sys.exit(code)
    startup.end_at_signals()


def _told(error):
    """(what is said of an exception that ends a command, or None; the exit code). Raises it again if it is a bug."""
    if startup.raised and not isinstance(error, SystemExit):  # also where a library made another exception of it
        return startup.CODES[startup.raised]
    if isinstance(error, KeyboardInterrupt):
        return startup.CODES[signal.SIGINT]
    if isinstance(error, UserError):
        return error, 2
    if isinstance(error, distributed.Lost):
        return error, 1
    if isinstance(error, ModuleNotFoundError) and error.name and not (ROOT / error.name.partition(".")[0]).exists():
        return f"the package {error.name} is not installed here: see Install in README.md", 2
    if isinstance(error, BrokenPipeError):  # the reader of our output, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return None, 1
    if isinstance(error, OSError) and error.errno is not None:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror, 2
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(str(error))):
        return "there is not enough memory: lower what is asked for, such as --batch-size or the number of codes", 2
    raise error


def _fail(message, code):
    if not distributed.may_tell():
        return
    line = one_line(f"{os.path.basename(sys.argv[0])}: {'error: ' if code == 2 else ''}{message}")
    for stream in (sys.stderr, sys.stdout)[not startup.has_stderr :]:  # one may be on a disk that is full
        with suppress(OSError, ValueError):
            print(line, file=stream, flush=True)
            return


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a request that a loop checks between two steps; a second one stops at once."""

    def __init__(self):
        self.signal = None
        self.granted = 0

    def __enter__(self):
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number, _frame):
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number

    def requested(self):
        """Whether any process of the run got a signal. An exchange between all processes: all must call it equally
        often."""
        self.granted = distributed.largest(self.signal or 0)
        return self.granted > 0

    @property
    def exit_code(self):
        """128 plus the number of the signal that was granted, as in shells."""
        return 128 + self.granted
