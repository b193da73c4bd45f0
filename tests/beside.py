"""A process that runs beside a test."""

import subprocess

TIMEOUT = 400  # seconds; far more than any of the tests' processes needs, so that a busy machine breaks no test


class Beside:
    """A command in `cwd`, with what it says in a file next to that; a context manager, for subclasses to end it.

    start: subprocess.Popen, or `warm.start`.
    """

    def __init__(self, cwd, command, start=subprocess.Popen):
        self.cwd, self.output = cwd, cwd.with_name(cwd.name + ".out")
        with open(self.output, "w") as output:
            self.process = start(command, cwd=cwd, stdout=output, stderr=output)

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
        return self.process.wait(timeout=TIMEOUT)
