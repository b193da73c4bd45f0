"""Runs commands in processes forked from a server that has already imported torch, which saves each of them seconds.

A test sends the server one line of JSON at a time over a socket and waits for the answer:

    {"argv": [SCRIPT, ..], "cwd": .., "env": {..}, "session": BOOL} and three file descriptors   -> process id
    {"ended": PROCESS ID}                                                                       -> exit code
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


class Server:
    """A context manager that runs the server; `start` takes the place of subprocess.Popen."""

    def __enter__(self):
        self._control, end = socket.socketpair()
        with end:
            command = [sys.executable, __file__, str(end.fileno())]
            # No CUDA may have begun in a process that others are forked from: a GPU is looked for without it.
            env = os.environ | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
            self._process = subprocess.Popen(command, pass_fds=[end.fileno()], stdin=subprocess.DEVNULL, env=env)
        return self

    def __exit__(self, *_):
        self._control.close()  # at which the server ends
        self._process.wait()

    def start(self, command, *, cwd, stdout, stderr, env=None, start_new_session=False):
        """Run [sys.executable, SCRIPT, ..] with its output in the open files `stdout` and `stderr`."""
        python, *argv = map(str, command)
        assert python == sys.executable
        order = {"argv": argv, "cwd": str(cwd), "env": env or dict(os.environ), "session": start_new_session}
        alive, held = socket.socketpair()
        with held:
            return Process(self, self.ask(order, [held.fileno(), stdout.fileno(), stderr.fileno()]), alive)

    def ask(self, order, descriptors=()):
        socket.send_fds(self._control, [json.dumps(order).encode() + b"\n"], descriptors)
        answer = _line(lambda: self._control.recv(64))
        assert answer, "the process that forks has ended"
        return json.loads(answer)


class Process:
    """The part of subprocess.Popen that the tests use."""

    def __init__(self, server, pid, alive):
        self.pid, self.returncode, self._server, self._alive = pid, None, server, alive

    def poll(self):
        try:
            return self.wait(timeout=0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        if self.returncode is None:
            ended, _, _ = select.select([self._alive], [], [], timeout)  # the other end closes with the process
            if not ended:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self.returncode = self._server.ask({"ended": self.pid})
            self._alive.close()
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def _line(receive):
    """The bytes up to the end of a line or of the connection."""
    line = b""
    while not line.endswith(b"\n"):
        part = receive()
        if not part:
            break
        line += part
    return line


def _serve(control):
    """Fork a process for each order. Returns (order, descriptors) in a forked process, None when the tests end."""
    while True:
        descriptors = []

        def receive():
            part, received, _, _ = socket.recv_fds(control, 1 << 16, 3)
            descriptors.extend(received)  # noqa: B023 (called before the next turn)
            return part

        line = _line(receive)
        if not line:
            return None
        order = json.loads(line)
        if "ended" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["ended"], 0)[1])
        else:
            answer = os.fork()
            if not answer:
                control.close()
                return order, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        control.sendall(json.dumps(answer).encode() + b"\n")


def _follow(order, descriptors):
    """Run the command. `held` stays open until this process ends; the processes that it starts do not inherit it."""
    held, *streams = descriptors
    os.set_inheritable(held, False)
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream, number)
        os.close(stream)
    if order["session"]:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = order["argv"]
    code = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an ordinary exit would spend a second on freeing all that was imported


if __name__ == "__main__":
    sys.path[0] = str(REPOSITORY)
    for module in ("models.clip_encoder", "models.load_generator"):  # they import nearly everything that takes long
        importlib.import_module(module)
    gc.freeze()  # the garbage collector would touch, and so copy, every page that is shared with the server
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to this process too; pytest ends it
    order = _serve(socket.socket(fileno=int(sys.argv[1])))
    if order:
        _follow(*order)
    os._exit(0)
