"""Signals at any moment, closed streams, full disks, huge numbers: one line or none, and the right exit code."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib import command_line, startup
from lib.downloading.reporting import report
from models.errors import UserError, one_line, quoted

REPOSITORY = Path(__file__).resolve().parent.parent
COMMANDS = ["train.py", "sample_gan.py", "traverse_latent_space.py", "evaluate.py", "download.py", "explore.py",
            "invert.py"]
CODES = {signal.SIGINT: (130, "interrupted"), signal.SIGTERM: (143, "terminated")}

# Runs a command, and sends it a signal at the n-th line that is executed while a module is imported.
DISTURBED = """
import os, runpy, sys
module, number, script = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sys.argv = sys.argv[3:]
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == module:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), number)
sys.meta_path.insert(0, Finder())
sys.path.insert(0, os.path.dirname(script))
runpy.run_path(script, run_name="__main__")
"""


def disturbed(script, module, number, *args, cwd):
    """The command, which gets a signal when it begins to import a module."""
    command = [sys.executable, "-c", DISTURBED, module, str(int(number)), str(REPOSITORY / script), *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("module", ["lib.command_line", "numpy", "torch._C", "models.stylegan2"])
def test_signal_during_imports_ends_with_one_line(module, number, data, tmp_path):
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    process = disturbed("sample_gan.py", module, number, gan, "--no-cuda", cwd=tmp_path)
    code, word = CODES[number]
    assert (process.returncode, process.stderr) == (code, f"sample_gan.py: {word}\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("script", COMMANDS)
def test_each_command_is_ready_for_signals_before_its_imports(script, tmp_path):
    process = disturbed(script, "lib.command_line", signal.SIGINT, cwd=tmp_path)
    assert (process.returncode, process.stderr) == (130, f"{script}: interrupted\n")


def test_signal_in_an_import_while_something_is_made_waits_for_its_end(data, tmp_path):
    """The pool has been begun when Pillow's JPEG plugin is imported: the code that is being made leaves nothing."""
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    process = disturbed("sample_gan.py", "PIL.JpegImagePlugin", signal.SIGTERM, gan, "--no-cuda", cwd=tmp_path)
    assert process.returncode == 143
    assert process.stderr.splitlines()[-1] == "sample_gan.py: terminated"
    assert not list(tmp_path.rglob(".*"))


SWALLOWED = """
import os, signal, sys, time
sys.path.insert(0, sys.argv[1])
from lib import startup
startup.begin()
startup.catch_signals(lambda: True)
class Dying:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)
try:
    Dying()
    time.sleep(20)
except startup.Terminated:
    print("told")
"""


def test_signal_in_a_place_that_exceptions_cannot_leave_is_not_lost():
    process = subprocess.run([sys.executable, "-c", SWALLOWED, str(REPOSITORY)], text=True, timeout=60,
                             capture_output=True)
    assert (process.stdout, process.stderr) == ("told\n", "")


def shell(line, *args, cwd):
    command = ["bash", "-c", f'exec "$0" "$@" {line}', sys.executable, *map(str, args)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "0<&- 2>&-"])
def test_errors_are_told_on_stdout_where_stderr_is_closed_or_full(redirection, tmp_path):
    process = shell(redirection, REPOSITORY / "sample_gan.py", "--gan=gone.pth", cwd=tmp_path)
    assert process.returncode == 2 and not process.stderr
    assert process.stdout.startswith("sample_gan.py: error: there is no file 'gone.pth'")


def test_all_streams_may_be_closed(data, tmp_path):
    gan = f"--gan={data / 'stylegan2_tiny.pth'}"
    process = shell("0<&- 1>&- 2>&-", REPOSITORY / "sample_gan.py", gan, "--num-samples=1", "--no-cuda", cwd=tmp_path)
    assert process.returncode == 0
    (image,) = tmp_path.rglob("image_z.jpg")
    assert image.read_bytes()[:2] == b"\xff\xd8"


def test_output_on_a_full_disk_is_an_error(tmp_path):
    process = shell(">/dev/full", REPOSITORY / "download.py", "--list", cwd=tmp_path)
    assert (process.returncode, process.stderr) == (2, "download.py: error: No space left on device\n")


BRIEFLY = {"GOMP_SPINCOUNT": startup.BRIEFLY}


@pytest.mark.parametrize("others, set_before, expected", [
    (0.6, {}, {"OMP_WAIT_POLICY": "PASSIVE"}), (0.4, {}, BRIEFLY), (None, {}, BRIEFLY),
    *((others, decided, decided) for others in (0.4, 2.0)
      for decided in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}, {"KMP_BLOCKTIME": "0"})),
])
def test_idle_threads_sleep_if_others_are_at_work_and_spin_briefly_otherwise(others, set_before, expected, monkeypatch):
    """others: processors that other processes use."""
    monkeypatch.setattr(os, "environ", dict(set_before))
    monkeypatch.setattr(startup, "_others_before", (time.monotonic() - 10, 100.0))
    monkeypatch.setattr(startup, "_others_seconds", lambda: None if others is None else 100.0 + 10 * others)
    startup.choose_waiting()
    assert os.environ == expected


def test_processor_time_of_others_is_seen():
    before, began = startup._others_seconds(), time.monotonic()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        time.sleep(1)
        other.kill()
    assert startup._others_seconds() - before > 0.2 * (time.monotonic() - began)


# --- messages


def test_messages_are_short_and_printable():
    said = one_line("a\x1b[31m\nb\u202e" + "\udcff" + "x" * 900 + "the end")
    assert len(said) == 300 and said.isprintable()
    assert said.startswith("a\\x1b[31m\\nb\\u202e\\udcffx") and " ... " in said and said.endswith("the end")
    assert one_line("as it is, ä") == "as it is, ä"


def test_names_are_quoted_and_short():
    assert quoted("a\nname") == r"'a\nname'"
    assert len(quoted("x" * 1000)) == 60


@pytest.mark.parametrize("name", ["\x1b]0;title\x07.pth", "two\nlines.pth", "long" * 60 + ".pth"])
def test_names_in_errors_are_no_orders_to_the_terminal(name, run_warm, tmp_path):
    process = run_warm("sample_gan.py", f"--gan={name}", cwd=tmp_path)
    (line,) = process.stderr.splitlines()
    assert process.returncode == 2 and line.isprintable() and len(line) <= 300


def test_downloads_report_in_one_printable_line(capsys):
    report("name\x1b[2J", "reason\nwith lines " + "x" * 500)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable() and len(line) <= 300


@pytest.mark.parametrize("error, code, said", [
    (UserError("wrong\x07 " + "x" * 900), 2, "error: wrong\\x07 x"),
    (MemoryError(), 2, "error: there is not enough memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), 2, "not enough memory"),
    (OSError(28, "No space left on device", "file\x1b"), 2, "error: No space left on device: file\\x1b"),
    (startup.Terminated(), 143, "terminated"),
    (KeyboardInterrupt(), 130, "interrupted"),
])
def test_errors_of_a_command_are_one_line(error, code, said, monkeypatch, capsys):
    def main(arguments):
        if isinstance(error, startup.Terminated):
            monkeypatch.setattr(startup, "raised", signal.SIGTERM)
        raise error

    monkeypatch.setattr(startup, "begin", lambda: None)
    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as exit:
        command_line.run(main)
    assert exit.value.code == code
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and line.isprintable() and len(line) <= 300


def test_a_bug_keeps_its_traceback(monkeypatch):
    def main(arguments):
        raise ZeroDivisionError

    monkeypatch.setattr(startup, "begin", lambda: None)
    with pytest.raises(ZeroDivisionError):
        command_line.run(main)


# --- numbers


@pytest.mark.parametrize("script, flags, refused", [
    ("train.py", "--gan=g --corpus=c",
     "--batch-size --max-iter --log-freq --ckp-freq --micro-batch-size --num-directions --num-support-sets "
     "--num-support-dipoles --stylegan-layer --lr --seed --temperature --max-shift-magnitude"),
    ("sample_gan.py", "--gan=g", "--num-samples --batch-size --seed"),
    ("traverse_latent_space.py", "--exp=e --pool=p", "--shift-steps --shift-leap --eps --workers --strip-number"),
    ("evaluate.py", "--exp=e --pool=p", "--shift-steps --steps --samples --eps --batch-size"),
    ("download.py", "", "--timeout --pause"),
])  # fmt: skip
def test_numbers_that_no_tensor_can_hold_are_refused(script, flags, refused, run_warm, tmp_path):
    for flag in refused.split():
        for number in ("3" * 40, "9" * 5000, "1e300"):
            process = run_warm(script, *flags.split(), f"{flag}={number}", cwd=tmp_path)
            (line,) = [line for line in process.stderr.splitlines() if "error" in line]
            assert process.returncode == 2 and flag in line and len(line) <= 300 and "Traceback" not in process.stderr


# --- names of a stranger's files


@pytest.mark.parametrize("name", ["...pth", ".pth", "..pth"])
def test_generator_s_file_whose_name_leads_out_of_the_pools_is_refused(name, data, run_warm, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / name).write_bytes((data / "stylegan2_tiny.pth").read_bytes())
    process = run_warm("sample_gan.py", f"--gan=files/{name}", "--no-cuda", cwd=tmp_path)
    assert process.returncode == 2 and "rename the file" in process.stderr
    assert os.listdir(tmp_path) == ["files"]
    assert os.listdir(tmp_path / "files") == [name]
