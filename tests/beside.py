"""A process that runs beside a test."""

import os
import subprocess


class Beside:
    """A command in `cwd`, with what it says in a file next to that; a context manager, for subclasses to end it."""

    timeout = 90  # seconds that its end is waited for

    def __init__(self, cwd, command):
        self.cwd, self.output = cwd, cwd.with_name(cwd.name + ".out")
        with open(self.output, "w") as output:
            self.process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT,
                                            env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    @property
    def said(self):
        return self.output.read_text()

    def end(self, number=None):
        """Exit code, after a signal if one is given."""
        if number is not None:
            self.process.send_signal(number)
        return self.process.wait(timeout=self.timeout)
