"""Computing a stranger's .onnx network in a process of its own, whose memory, time and threads are bounded.

A graph of harmless operators can still ask for a terabyte, compute for a year, or meet a bug of the library that runs
it. Whatever it does, it does to that process, and here becomes one line of error.
"""

import importlib.util
import json
import math
import os
import socket
import subprocess
import sys
import weakref
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from models.errors import UserError

CHILD = Path(__file__).with_name("onnx_child.py")
MEMORY = 4 << 30  # bytes, besides four times the file: its own bytes, and weights that are laid out anew
PATIENCE = 300  # seconds for an answer
LONGEST_ANSWER = 1 << 16  # bytes of what the process says besides numbers
MOST_NUMBERS = 1 << 20  # for one row


class OnnxProcess:
    """A network that runs elsewhere. The process ends with its last reference, or by `close`."""

    def __init__(self, content, file, outputs, threads, patience=PATIENCE, memory=MEMORY):
        """content: the bytes of `file`, which `onnx_graph.read_graph` let through; outputs: names of those wanted.

        patience: seconds for an answer; memory: bytes besides four times the file's. Raises UserError where onnxruntime
        is not installed, and where it cannot load the network.
        """
        if importlib.util.find_spec("onnxruntime") is None:
            raise UserError(f"{file} needs the package onnxruntime: pip install -r requirements.txt")
        self.file, self.patience = file, patience
        ours, theirs = socket.socketpair()
        with theirs:
            process = _start(theirs.fileno())
        self._connection = Connection(ours.detach())
        self.close = weakref.finalize(self, _end, process, self._connection)
        order = {"memory": memory + 4 * len(content), "threads": threads, "outputs": outputs}
        self._ask(order, content)

    def __call__(self, array):
        """Numbers (B, ...) -> one array (B, ..) for each output, float32. Raises UserError where there are others."""
        array = np.ascontiguousarray(array, dtype=np.float32)
        return [self._array(shape, len(array)) for shape in self._ask({"shape": array.shape}, array)]

    def _ask(self, order, content):
        """Send an order and its bytes, and wait: the shapes of the arrays that follow."""
        try:
            self._connection.send_bytes(json.dumps(order).encode())
            self._connection.send_bytes(content)
            if not self._connection.poll(self.patience):
                self._fail(f"takes longer than {self.patience} s")
            answer = json.loads(self._connection.recv_bytes(LONGEST_ANSWER))
        except (OSError, EOFError):
            self._fail("ended the process that computed it: it is broken, or needs more memory than it may have")
        if "error" in answer:
            self._fail(f"cannot be computed ({answer['error']})")
        return answer["shapes"]

    def _array(self, shape, rows):
        if not shape or shape[0] != rows or math.prod(shape) > rows * MOST_NUMBERS:
            self._fail(f"gives numbers of the shape {tuple(shape)} for {rows} images")
        content = self._connection.recv_bytes(4 * math.prod(shape))
        return np.frombuffer(content, dtype=np.float32).reshape(shape)

    def _fail(self, words):
        self.close()
        raise UserError(f"{self.file} {words}") from None


def _start(descriptor):
    """The child, which talks over the socket `descriptor`. Ctrl-C is for us alone: the child ends with its socket."""
    # Variables by which onnxruntime would take its options from the file are left out.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ORT_")}
    return subprocess.Popen(
        [sys.executable, "-P", str(CHILD), str(descriptor)],
        pass_fds=[descriptor],
        env=environment,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _end(process, connection):
    connection.close()
    process.kill()
    process.wait()
