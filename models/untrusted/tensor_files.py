"""Files of tensors that are not to be trusted: only tensors and plain data are read from them, and nothing is run.

torch.save writes a zip archive with a pickle in it, and wrote pickles before; TorchScript writes such archives too, of
which the code is left alone. torch's own readers are not used: they build more than tensors, and TorchScript's runs the
code.
"""

import mmap
from contextlib import contextmanager
from pathlib import Path

import torch

from models.errors import UserError
from models.untrusted.pickles import BrokenPickle, ForbiddenGlobal, Function, Instance, load
from models.untrusted.plain_data import NotPlain, Plain
from models.untrusted.storages import STORAGES, View, read_legacy, storage_of
from models.untrusted.zip_archives import LOCAL, Archive, BrokenArchive, read_bytes

# Tensors may share a storage, or repeat it by strides of 0: all tensors may take this much more memory than their file.
MOST_SHARED = 256 << 20  # bytes
MOST_PICKLE = 256 << 20  # bytes of an archive's pickle
SCRIPT = "__torch__."  # what the names of TorchScript's classes begin with
MOST_MODULES = 10_000


def load_tensors(path, unread=()):
    """The content of a file that torch.save wrote: plain data (`plain_data`), and dense tensors on the CPU, of
    floating-point or whole numbers, without gradient, each of which has its memory for itself.

    unread: full names of classes and functions, such as "numpy.dtype", whose objects are replaced by None; all others
    but those of tensors are refused.

    Raises UserError where the file is missing or damaged, where it contains anything else, and where it claims to
    contain more bytes than it has.
    """
    if not Path(path).is_file():
        raise UserError(f"{path} is missing")
    try:
        with _refusing():
            return _File(path, unread).content()
    except BrokenFile as error:
        raise UserError(f"{path} cannot be read as a file of tensors ({error}): download or copy it again") from None


def load_network(path):
    """(content, is_script) of a file: as by `load_tensors`, or of a TorchScript archive, whose code is left alone, the
    tensors of its network, {dotted name: tensor}.

    Raises BrokenFile where `load_tensors` would raise UserError.
    """
    with _refusing():
        file = _File(path)
        if type(file.found) is not Instance:
            return file.content(), False
        return file.plain.tree(_state_dict(file.found)), True


def check_tensors(path):
    """Raise BrokenFile where `load_tensors` would refuse a file, or leave something out; no tensor is read.

    For libraries that read a file by themselves, with `torch.load(weights_only=True)`.
    """
    with _refusing():
        _File(path, strict=True).check()


class BrokenFile(Exception):
    """Its message says what is wrong with the file."""


@contextmanager
def _refusing():
    try:
        yield
    except NotPlain as error:
        reason = f"it {error}"
    except BrokenPickle as error:
        reason = str(error)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        return
    raise BrokenFile(reason[:200]) from None


class _File:
    """What is in a file, its tensors not yet read."""

    def __init__(self, path, unread=(), strict=False):
        size = Path(path).stat().st_size
        if not size:
            raise BrokenPickle("it is empty")
        self.path, self.left = path, size + MOST_SHARED
        self.find = _globals(unread, strict)
        self.plain = Plain(self._tensor)
        self.read, self.used = {}, set()  # {key: bytes of a storage}; keys whose bytes are a tensor's now
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
            is_archive = stream[: len(LOCAL)] == LOCAL  # torch.load distinguishes its formats in the same way
            self.found, self.places = (_of_archive if is_archive else _of_pickles)(file, stream, self.find)

    def content(self):
        return self.plain.tree(self.found)

    def check(self):
        self.plain.convert = self._claim
        self.plain.tree(self.found)

    def _claim(self, view, _):
        if type(view) is not View:
            kind = "a network or another object" if type(view) is Instance else "something that is not a tensor"
            raise NotPlain(f"has {kind}")
        self.left -= view.bytes
        if self.left < 0:
            raise BrokenPickle("it claims more bytes of tensors than it has")

    def _tensor(self, view, depth):
        self._claim(view, depth)
        key, storage = view.storage.key, view.storage
        if key not in self.read:
            with open(self.path, "rb", buffering=0) as file:
                self.read[key] = read_bytes(file, self.places[key], storage.whole * storage.dtype.itemsize)
        offset = view.offset + storage.begin if view.bytes else 0
        found = torch.empty(0, dtype=storage.dtype)
        found.set_(self.read[key].untyped_storage(), offset, view.size, view.stride)
        if view.is_whole and key not in self.used:
            self.used.add(key)
            return found
        return found.clone(memory_format=torch.contiguous_format)


def _of_archive(file, stream, find):
    """(content, {key of a storage: first byte}) of a zip archive."""
    archive = Archive(file, stream)
    pickles = [name for name in archive.records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise BrokenArchive("it is not an archive of torch.save")
    folder = pickles[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in archive.records and archive.read(f"{folder}byteorder", 6) != b"little":
        raise BrokenArchive("its numbers are big-endian")
    places = {}

    def storage(identity):
        found = storage_of(identity)
        width = found.dtype.itemsize if isinstance(found.dtype, torch.dtype) else 1
        begin, size = archive.span(f"{folder}data/{found.key}")
        if found.whole * width != size:
            raise BrokenArchive(f"it claims {found.whole:,} numbers in {size:,} bytes")
        places[found.key] = begin
        return found

    begin, size = archive.span(pickles[0])
    if size > MOST_PICKLE:
        raise BrokenArchive(f"its data.pkl has {size:,} bytes")
    with mmap.mmap(file.fileno(), begin + size, access=mmap.ACCESS_READ) as part:
        part.seek(begin)
        return load(part, find, storage), places


def _of_pickles(file, stream, find):
    content, places = read_legacy(stream, len(stream), find)
    return content, places


def _rebuilt(function, kind, arguments, *_):
    """A tensor that had attributes in Python."""
    if type(function) is not Function or function.call not in (View, _first) or type(arguments) is not tuple:
        raise BrokenPickle("a tensor is damaged")
    return function.call(*arguments)


def _first(value=None, *_):
    return value


def _encoded(text="", encoding="", *_):
    """Bytes, as the second protocol of pickle writes them."""
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise BrokenPickle("it has bytes in another encoding")
    return text.encode("latin1")


def _dict(content=None, *_):
    """An ordered dict or a counter: of nothing, of a dict, or of pairs."""
    if content is None or type(content) is dict:
        return content or {}
    pairs = content if type(content) in (list, tuple) else [None]
    if not all(type(pair) in (list, tuple) and len(pair) == 2 for pair in pairs):
        raise BrokenPickle("it has a damaged dict")
    plain = Plain()
    return {plain.key(key): value for key, value in pairs}


def _sequence(items=(), *_):
    return items if type(items) in (list, tuple) else ()


GLOBALS = {
    ("torch._utils", "_rebuild_tensor_v2"): Function(View),
    ("torch._utils", "_rebuild_tensor"): Function(View),
    ("torch._utils", "_rebuild_parameter"): Function(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Function(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): Function(_rebuilt),
    ("torch.nn.parameter", "Parameter"): Function(_first),
    ("torch", "Tensor"): None,
    ("torch", "Size"): Function(_sequence),
    ("torch", "device"): Function(_first),
    ("collections", "OrderedDict"): Function(_dict),
    ("collections", "Counter"): Function(_dict),
    ("_codecs", "encode"): Function(_encoded),
}
# What stands beside tensors in checkpoints, and nobody here asks for: None is put in its place.
LEFT_OUT = {("argparse", "Namespace")} | {
    (module, name) for module in ("builtins", "__builtin__") for name in ("set", "bytearray", "complex")
}
DTYPES = {name for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
SCRIPT_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")


def _globals(unread, strict):
    """find(module, name) of `pickles.load`. strict: refuse also what would be left out."""

    def find(module, name):
        if module == "torch" and (name in STORAGES or name in DTYPES):
            return STORAGES.get(name, f"torch.{name}")
        if (module, name) in GLOBALS:
            return GLOBALS[module, name]
        if f"{module}.{name}" in unread or ((module, name) in LEFT_OUT and not strict):
            return Function(lambda *_: None)
        if module.startswith(SCRIPT) or module == SCRIPT.rstrip("."):
            return Function(lambda *_: Instance())
        if module == "torch.jit._pickle" and name in SCRIPT_LISTS:
            return Function(_first)
        if module == "torch._utils" or (module == "torch" and name.endswith("Storage")):
            raise BrokenPickle(f"it has what is not a tensor of floating-point or whole numbers, by {name[:40]!r}")
        raise ForbiddenGlobal(module, name)

    return find


def _state_dict(network):
    """{dotted name: `View`} of the tensors in a TorchScript network and in the networks in it."""
    state, waiting, count = {}, [("", network)], 0
    while waiting:
        prefix, module = waiting.pop()
        count += 1
        if count > MOST_MODULES:
            raise BrokenPickle("its networks are too many, or contain themselves")
        for key, value in (module.state if type(module.state) is dict else {}).items():
            if type(value) is View:
                state[f"{prefix}{key}"] = value
            elif type(value) is Instance:
                waiting.append((f"{prefix}{key}.", value))
    return state
