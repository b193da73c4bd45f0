"""The CUDA kernels, compiled on first use and cached.

The name of a library is a hash of what it is made from: the source, torch, CUDA and the GPUs' architectures. If it
cannot be built, a file beside it says why and with which tools, and it is not tried again until one of these has
changed. Both are in $TORCH_EXTENSIONS_DIR, or in ~/.cache/torch_extensions.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch

from models.ops.library import Library

SOURCE = Path(__file__).parent / "kernels.cu"


@functools.cache
def kernels():
    """The kernels for the GPUs of this machine: (Library, None), or (None, one line that says why there are none)."""
    if not torch.cuda.is_available():
        return None, "there is no CUDA device"
    if not torch.version.cuda or sys.platform != "linux":
        return None, "they need CUDA on Linux"
    found = {torch.cuda.get_device_capability(index) for index in range(torch.cuda.device_count())}
    return load([f"{major}.{minor}" for major, minor in sorted(found)])


def load(architectures):
    """The kernels for GPUs of these architectures, as ["8.0", "9.0"]: (Library, None), or (None, why there are none).

    Needs no GPU. If several processes call it at the same time, the first one compiles and the others wait.
    """
    parts = (SOURCE.read_text(), torch.__version__, torch.version.cuda, *architectures)
    name = "contraclip_ops_" + hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]
    library, failure = (_cache() / f"{name}{ending}" for ending in (".so", ".failed"))
    try:
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            with _locked(library.with_suffix(".lock")):
                reason = None if library.exists() else _build(library, failure, architectures)
            if reason:
                return None, reason
        return Library(library), None
    except OSError as error:  # a cache that cannot be written, or a library from another machine
        return None, " ".join(str(error).split())


def _cache():
    if root := os.environ.get("TORCH_EXTENSIONS_DIR"):
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "torch_extensions"


@contextmanager
def _locked(file):
    import fcntl

    with open(file, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)  # released by the system even if this process is killed
        yield


def _build(library, failure, architectures):
    """Build the library. Returns None, or one line that says why it cannot be built, which is also kept in
    `failure`."""
    home, tools = _tools()
    if failure.exists():
        before = json.loads(failure.read_text())
        if before["tools"] == tools:
            return before["reason"]
    if home is None:
        reason, log = "there is no nvcc: install the CUDA toolkit, or set CUDA_HOME to its folder", ""
    else:
        print("compiling the CUDA kernels, once: about half a minute", file=sys.stderr)
        try:
            _compile(library, home, architectures)
            failure.unlink(missing_ok=True)
            return None
        except Exception as error:  # from cpp_extension, the compiler, the linker or the loader
            log = str(error)
            reason = f"the compilation failed ({_cause(log)}); {failure} has the whole log, delete it to try again"
    failure.write_text(json.dumps({"reason": reason, "tools": tools, "log": log}, indent=1))
    return reason


def _cause(log):
    """The most informative line of a compiler's output."""
    lines = [line.strip() for line in log.splitlines() if line.strip()] or ["no output"]
    errors = [line for line in lines if re.search(r"\b(error|fatal)\b", line)]
    return (errors or lines[-1:])[0][:200]


def _tools():
    """(the toolkit's folder or None, what identifies the tools: {tool: its version, or None})."""
    home = _toolkit()
    commands = {
        "nvcc": home and str(home / "bin" / "nvcc"),
        "c++": os.environ.get("CXX", "c++"),
        "cc": os.environ.get("CC", "gcc"),
        "ninja": shutil.which("ninja", path=_path()),
    }
    tools = {tool: command and _output(command, "--version") for tool, command in commands.items()}
    return home, {"folder": home and str(home), **tools}


def _toolkit():
    """The CUDA toolkit's folder, or None. nvcc itself is asked for it, since the nvcc on the path may be a script."""
    for home in (os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")):
        if home and (Path(home) / "bin" / "nvcc").is_file():
            return Path(home)
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        return None
    top = re.search(r"^#\$ TOP=(.*)$", _output(nvcc, "--dryrun", "-x", "cu", "-c", os.devnull) or "", re.MULTILINE)
    return Path(top[1] if top else Path(nvcc).parent.parent).resolve()


def _output(*command):
    """The output of a command, or None if it cannot be run."""
    try:
        process = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout


def _path():
    """The search path, extended by the interpreter's folder, where pip installs ninja."""
    return os.pathsep.join((os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)))


def _compile(library, home, architectures):
    """Compile SOURCE into `library`, which is written whole or not at all."""
    with (
        tempfile.TemporaryDirectory(prefix=f"{library.stem}.", dir=library.parent) as folder,
        _environment(PATH=_path(), CUDA_HOME=str(home), TORCH_CUDA_ARCH_LIST=";".join(architectures)),
    ):
        from torch.utils import cpp_extension

        cpp_extension.CUDA_HOME = str(home)  # if it was imported before, it may have found another folder
        built = cpp_extension.load(
            Path(folder).name.replace(".", "_"),
            [str(SOURCE)],
            extra_cuda_cflags=["-O3"],
            build_directory=folder,
            is_python_module=False,
        )
        os.replace(built, library)


@contextmanager
def _environment(**variables):
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
