"""Strangers' files that once ran code, hung, filled the memory or ended in a traceback: each is refused in one line, or
read as plain data."""

import json
import struct
import time
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch

from lib.evaluation.store import load_arrays
from lib.files import read_json
from lib.methods.warpedganspace import _with_its_gamma
from lib.paths.networks import directions_from_state
from lib.pools import read_w_plus
from models.clip_encoder import clip, load_clip
from models.errors import UserError
from models.formats import read_generator
from models.load_generator import load_generator
from models.untrusted import numpy_files, plain_data
from models.untrusted.safetensors_files import check_safetensors
from models.untrusted.tensor_files import BrokenFile, check_tensors, load_tensors

QUICK = 5.0  # seconds of the processor, on a busy machine; most take milliseconds


@pytest.fixture(autouse=True)
def few_items(monkeypatch):
    """What grows is refused soon; the campaign runs with the real limits."""
    monkeypatch.setattr(plain_data, "MOST_ITEMS", 100_000)


def refused(read, file, *words):
    """Refused in one line with these words, quickly."""
    began = time.process_time()
    with pytest.raises(UserError) as raised:
        read(file)
    assert time.process_time() - began < QUICK
    message = str(raised.value)
    assert "\n" not in message and file.name in message and all(word in message for word in words), message
    return message


def saved(content, file, **options):
    torch.save(content, file, **options)
    return file


# --- TorchScript (H1)


class Writes(torch.nn.Module):
    """Its `__setstate__` makes a file, when torch.jit loads it."""

    def __init__(self, path):
        super().__init__()
        self.path: str = path
        self.weight = torch.nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return x

    @torch.jit.export
    def __getstate__(self):
        return self.path, self.weight, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, torch.Tensor, bool]):
        self.path = state[0]
        self.weight = state[1]
        self.training = state[2]
        self.weight = torch.from_file(self.path, True, 8)


@pytest.fixture
def script_that_writes(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(Writes(str(tmp_path / "ran"))), tmp_path / "evil.pt")
    return tmp_path / "evil.pt"


def test_code_of_a_torchscript_clip_does_not_run(script_that_writes, tmp_path):
    refused(load_clip, script_that_writes, "holds no CLIP")
    with pytest.raises(UserError):
        load_tensors(script_that_writes)
    assert not (tmp_path / "ran").exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.load(script_that_writes)
    assert (tmp_path / "ran").exists()  # what it would have done


def scripted(model, file):
    """As OpenAI's archives: traced, with three numbers as buffers."""
    side = model.visual.input_resolution
    for name, value in {"input_resolution": side, "context_length": 77, "vocab_size": 49408}.items():
        model.__dict__.pop(name, None)
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = torch.zeros(1, 3, side, side), torch.zeros(1, 77, dtype=torch.long)
        torch.jit.save(torch.jit.trace(model.eval(), inputs, check_trace=False), file)
    return file


NETWORKS = {
    "transformer": (16, 32, 2, 64, 16, 77, 49408, 64, 1, 2),
    "resnet": (16, 32, (1, 2, 1, 1), 8, None, 77, 49408, 64, 1, 1),
}


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("written", ["script", "half precision", "single precision", "legacy"])
def test_clip_has_the_numbers_that_the_package_gives(kind, written, tmp_path):
    torch.manual_seed(0)
    model, file = clip.model.CLIP(*NETWORKS[kind]).eval(), tmp_path / "clip.pt"
    if written == "script":
        scripted(model, file)
    else:
        if written == "half precision":
            clip.model.convert_weights(model)
        saved(model.state_dict(), file, _use_new_zipfile_serialization=written != "legacy")
    found = load_clip(file).model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, _ = clip.load(str(file), "cpu")
    assert [*found.state_dict()] == [*expected.state_dict()]
    for key, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[key], value) and found.state_dict()[key].dtype == value.dtype
    images, texts = torch.randn(2, 3, 32, 32), clip.tokenize(["a happy face", "a sad one"])
    with torch.no_grad():
        assert torch.equal(found.encode_image(images), expected.encode_image(images))
        assert torch.equal(found.encode_text(texts), expected.encode_text(texts))


def clip_state(**changed):
    torch.manual_seed(0)
    state = clip.model.CLIP(*NETWORKS["transformer"]).half().state_dict()
    return {key: value for key, value in (state | changed).items() if value is not None}


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"positional_embedding": torch.zeros(1).expand(1 << 22, 64).half()}, "positions of text"),
        ({"token_embedding.weight": torch.zeros(100, 64).half()}, "tokenizer"),
        ({"text_projection": torch.zeros(64, 0).half()}, "features"),
        ({"visual.conv1.weight": torch.zeros(64, 3, 1 << 20, 1 << 20, device="meta")}, "not a tensor"),
        ({"visual.conv1.weight": torch.zeros(64, 3, 16, 16).long()}, "int64"),
        ({"visual.positional_embedding": torch.zeros(5)}, "(5, 64)"),
        ({f"visual.transformer.resblocks.{i}.x": torch.zeros(1) for i in range(2_000)}, "layers"),
        ({"ln_final.weight": torch.zeros(64, dtype=torch.cfloat)}, "not a tensor"),
        ({"ln_final.bias": torch.zeros(63)}, "ln_final.bias"),
        ({"logit_scale": None}, "logit_scale"),
        ({"odd": torch.zeros(3)}, "odd"),
    ],
)  # fmt: skip
def test_clip_of_another_size_is_refused_before_it_is_built(changed, word, tmp_path):
    refused(load_clip, saved(clip_state(**changed), tmp_path / "clip.pt"), "holds no CLIP", word)


# --- archives (H3)


def records_of(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def archive(tmp_path):
    return saved({"w": torch.arange(4.0)}, tmp_path / "whole.pt")


def rewritten(records, file, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return file


def test_archive_that_another_program_wrote_is_read(archive, tmp_path):
    again = rewritten(records_of(archive), tmp_path / "again.pt")
    assert torch.equal(load_tensors(again)["w"], torch.arange(4.0))


def test_two_directories_of_one_archive_are_refused(archive, tmp_path):
    """One is small, for whoever checks it; the other one is of records that unpack to a thousand times their size."""
    small, packed = (
        archive.read_bytes(),
        rewritten({"big/data.pkl": bytes(1 << 20)}, tmp_path / "b", zipfile.ZIP_DEFLATED),
    )
    for content in (
        small + packed.read_bytes(),
        packed.read_bytes() + small,
        small + small,
        small + b"x",
        b"PK\x03\x04" + small,
    ):
        (tmp_path / "two.pt").write_bytes(content)
        refused(load_tensors, tmp_path / "two.pt", "cannot be read")


def test_compressed_records_are_refused_without_unpacking_them(tmp_path):
    records = records_of(saved({"w": torch.zeros(1 << 24)}, tmp_path / "large.pt"))
    bomb = rewritten(records, tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refused(load_tensors, bomb, "claims")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_records_that_overlap_are_refused(archive, tmp_path):
    """Two entries of the directory for one record."""
    content = archive.read_bytes()
    end = content.rindex(b"PK\x05\x06")
    count, _, size, begin = struct.unpack("<HHII", content[end + 8 : end + 20])
    first = content[begin : begin + 46 + sum(struct.unpack("<HHH", content[begin + 28 : begin + 34]))]
    directory = content[begin : begin + size] + first
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count + 1, count + 1, len(directory), begin, 0)
    (tmp_path / "twice.pt").write_bytes(content[:begin] + directory + tail)
    refused(load_tensors, tmp_path / "twice.pt", "cannot be read")


@pytest.mark.parametrize("field", ["name", "size", "method"])
def test_headers_that_differ_from_the_directory_are_refused(field, archive, tmp_path):
    content = bytearray(rewritten(records_of(archive), tmp_path / "plain.pt").read_bytes())
    position = {"name": 30, "size": 22, "method": 8}[field]
    content[position] ^= 1
    (tmp_path / "other.pt").write_bytes(content)
    refused(load_tensors, tmp_path / "other.pt", "two ways")


# --- pickles that hang or exhaust (H4)


def pickled(*parts):
    return b"\x80\x02" + b"".join(parts) + b"."


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word.encode()


def in_archive(content, file):
    return rewritten({"a/data.pkl": content, "a/version": b"3\n"}, file)


def nested(opening, levels):
    """A value that is in two places at each of so many levels: as a tree, it has 2 ** levels parts."""
    return opening + b"".join(b"q\x01h\x01\x86" for _ in range(levels))


HOSTILE = {
    "nested tuple as a key": (pickled(b"}", b")" + b"\x85" * 100_000, b"Ns"), "key"),
    "key that takes forever to hash": (pickled(b"}", nested(b"K\x01", 60), b"Ns"), "key"),
    "bytearray": (pickled(b"cbuiltins\nbytearray\n", b"\x8a\x05" + (10**11).to_bytes(5, "little"), b"\x85R"), None),
    "punycode": (pickled(b"c_codecs\nencode\n", text("a" * 200_000), text("punycode"), b"\x86R"), "encoding"),
    "punycode to decode": (pickled(b"c_codecs\ndecode\n", text("a" * 200_000), text("punycode"), b"\x86R"), "decode"),
    "text that grows exponentially": (pickled(nested(text("x"), 25)), "items"),
    "deep lists": (pickled(b"]" * 100_000 + b"a" * 99_999), "deep"),
    "colliding keys": (pickled(b"}(", b"".join(
        b"\x8a\x0a" + (i * (2**61 - 1)).to_bytes(10, "little") + b"N" for i in range(1, 50_000)), b"u"), "bits"),
    "number of 3,000 digits": (pickled(b"\x8b" + struct.pack("<i", 1300) + b"\x7f" * 1300), "bits"),
    "long key": (pickled(b"}", text("9" * 5000), b"Ns"), "key"),
    "key with a line break": (pickled(b"}", text("a\nb"), b"Ns"), "printed"),
    "half of a surrogate pair": (pickled(b"X\x03\x00\x00\x00\xed\xa0\x80"), "surrogate"),
    "call in a call": (pickled(b"ctorch._tensor\n_rebuild_from_type_v2\n", b"h\x00" * 0,
                               b"ctorch._tensor\n_rebuild_from_type_v2\nN)N\x86\x86R"), "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_small_pickle_that_hangs_or_exhausts(name, tmp_path):
    content, word = HOSTILE[name]
    file = in_archive(content, tmp_path / "hostile.pt")
    if word is None:
        assert load_tensors(file) is None  # it is left out
    else:
        refused(load_tensors, file, word)


def test_settings_whose_text_grows_exponentially(nvidia_of, tmp_path):
    grown = "x"
    for _ in range(25):
        grown = [grown, grown]
    refused(read_generator, nvidia_of({"synthesis_kwargs": {"activation": grown}}), "items")


@pytest.mark.parametrize("clamp", [10**400, -(2**200)])
def test_settings_of_impossible_numbers(clamp, nvidia_of):
    refused(read_generator, nvidia_of({"synthesis_kwargs": {"conv_clamp": clamp}}), "bits")


@pytest.fixture
def nvidia_of(data, tmp_path):
    """nvidia_of(arguments) -> the tiny NVIDIA pickle, built with other arguments."""
    from nvidia_pickles import dump, network

    state = torch.load(data / "nvidia_tiny_state_dict.pt", weights_only=True)
    kwargs = json.loads((data / "nvidia_tiny.json").read_text())["init_kwargs"]
    return lambda changed: dump({"G_ema": network(state, kwargs | changed)}, tmp_path / "hostile.pkl")


@pytest.fixture
def changed_generator(data, tmp_path):
    """changed_generator(name, function) -> a generator's file whose state dict the function changed."""

    def change(name, function):
        content = torch.load(data / name, weights_only=True)
        content.pop("latent_avg", None)
        function(content.get("generator_smooth", content.get("g_ema", content)))
        return saved(content, tmp_path / name)

    return change


def ones(*shape):
    """A tensor of this shape that takes the space of one number in a file."""
    return torch.ones(1).expand(shape)


@pytest.mark.parametrize(
    ("name", "function", "word"),
    [
        ("rosinality_tiny.pt", lambda s: s.update({"style.1.weight": ones(32, 1 << 20)}), "too large"),
        ("rosinality_tiny.pt", lambda s: s.update({"style.1.weight": ones(7000, 7000)}), "too large"),
        ("rosinality_tiny.pt", lambda s: s.update({"conv1.conv.weight": torch.zeros(1, 0, 32, 3, 3)}), "is empty"),
        ("rosinality_tiny.pt", lambda s: s.update({f"noises.noise_{'9' * 5000}": torch.ones(1)}), "5,013 characters"),
        ("pggan_tiny.pth", lambda s: s.update({"layer0.weight": ones(32, 100_000, 4, 4)}), "100,000 dimensions"),
        ("pggan_tiny.pth", lambda s: s.update({"layer0.weight": ones(20_000, 32, 4, 4)}), "channels"),
        ("stylegan2_tiny.pth", lambda s: s.update(
            {f"mapping.dense{i}.weight": ones(32, 32) for i in range(2_000)}), "2,000 mapping layers"),
        ("stylegan2_tiny.pth", lambda s: s.update({"synthesis.layer0.weight": torch.zeros(0, 32, 3, 3)}), "is empty"),
        ("biggan_pytorch_tiny.pth", lambda s: s.update({"shared.weight": ones(1 << 20, 16)}), "classes"),
    ],
)  # fmt: skip
def test_network_beyond_all_limits_is_refused_before_it_is_built(name, function, word, changed_generator):
    refused(load_generator, changed_generator(name, function), word)


def test_codes_that_grow_when_they_are_repeated(tiny_stylegan2, tmp_path):
    file = saved(torch.zeros(1).expand(1 << 20, 32), tmp_path / "codes.pt")
    refused(lambda path: read_w_plus(path, tiny_stylegan2), file, "too many")


# --- tensors of other kinds (M1)

W = torch.arange(6.0).view(2, 3)
OTHER_KINDS = {
    "sparse": W.to_sparse(), "meta": W.to("meta"), "complex": W.cfloat(), "float8": W.to(torch.float8_e4m3fn),
    "unsigned": W.to(torch.uint16),
}  # fmt: skip


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("kind", [*OTHER_KINDS, "nested", "quantised"])
def test_tensor_of_another_kind_is_refused(kind, legacy, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = {"nested": lambda: torch.nested.nested_tensor([W]),
                "quantised": lambda: torch.quantize_per_tensor(W, 0.1, 0, torch.quint8)}  # fmt: skip
        tensor = made[kind]() if kind in made else OTHER_KINDS[kind]
    file = saved([tensor], tmp_path / "other.pt", _use_new_zipfile_serialization=not legacy)
    refused(load_tensors, file, "not a tensor of floating-point or whole numbers")


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_come_out_plain(legacy, tmp_path):
    shared = torch.arange(12.0)
    given = {
        "gradient": torch.nn.Parameter(W.clone()), "view": shared[3:7], "steps": shared[::5], "transposed": W.T,
        "whole": shared, "again": shared, "repeated": torch.ones(1).expand(4, 5), "empty": torch.zeros(3, 0),
        "number": torch.tensor(2), "truth": torch.tensor([True]), "half": W.bfloat16(),
        "far": W.as_strided((1, 1), (2**62, 1)),
    }  # fmt: skip
    given["attribute"] = W.clone()
    given["attribute"].owner = "somebody"
    found = load_tensors(saved(given, tmp_path / "kinds.pt", _use_new_zipfile_serialization=not legacy))
    assert found.keys() == given.keys()
    for name, tensor in found.items():
        assert type(tensor) is torch.Tensor and tensor.is_contiguous() and not tensor.requires_grad
        assert torch.equal(tensor, given[name].detach()) and tensor.dtype == given[name].dtype
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values() if tensor.numel()}) == len(found) - 1


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("size", "stride"),
    [
        ((1 << 70,), (1,)),
        ((2,), (1 << 70,)),
        ((1 << 40, 0, 1 << 40), (0, 0, 0)),
        ((1,) * 100, (1,) * 100),
        ((-1,), (1,)),
        ((2.0,), (1,)),
    ],
)
def test_impossible_shapes_are_refused(size, stride, legacy, tmp_path):
    class Claimed:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, (torch.zeros(2)._typed_storage(), 0, size, stride, False, {})

    file = saved([Claimed()], tmp_path / "shape.pt", _use_new_zipfile_serialization=not legacy)
    refused(load_tensors, file, "a tensor")


@pytest.mark.parametrize("name", ["bytearray", "punycode", "long key", "deep lists"])
def test_what_another_library_reads_is_checked_before(name, tmp_path):
    with pytest.raises(BrokenFile):
        check_tensors(in_archive(HOSTILE[name][0], tmp_path / "hostile.bin"))
    check_tensors(saved({"w": W, "p": torch.nn.Parameter(W.clone())}, tmp_path / "weights.bin"))


@pytest.mark.parametrize(("part", "key", "value"), [("vision_cfg", "layers", 10**6), ("text_cfg", "width", 10**9),
                                                     ("text_cfg", "vocab_size", 1e300)])  # fmt: skip
def test_network_of_open_clip_beyond_all_limits(part, key, value, tmp_path):
    pytest.importorskip("open_clip")
    network = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
               "text_cfg": {"context_length": 77, "vocab_size": 49408, "heads": 1, "layers": 1}}  # fmt: skip
    network[part][key] = value
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": network}))
    saved({}, tmp_path / "model.bin")
    refused(lambda file: load_clip(f"open_clip:{file.parent}"), tmp_path / "open_clip_config.json", key)


def test_safetensors_of_other_kinds(data, tmp_path):
    state = torch.load(data / "pggan_tiny.pth", weights_only=True)["generator_smooth"]
    safetensors.torch.save_file(
        state | {"lod": torch.zeros((), dtype=torch.float8_e4m3fn)}, tmp_path / "f8.safetensors"
    )
    refused(read_generator, tmp_path / "f8.safetensors", "F8_E4M3")
    (tmp_path / "long.safetensors").write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(UserError, match="header"):
        check_safetensors(tmp_path / "long.safetensors")


# --- published checkpoints


def test_directions_without_a_path_are_refused():
    with pytest.raises(UserError, match=r"d\.pt holds no directions"):
        directions_from_state({"params": torch.zeros(0, 32)}, 32, "d.pt")


@pytest.mark.parametrize("gamma", [10**400, 1e300, -1, True, "x"])
def test_published_gamma_that_no_tensor_holds_is_the_default(gamma):
    state = {"SUPPORT_SETS": torch.zeros(2, 64), "ALPHAS": torch.ones(2, 2), "LOGGAMMA": torch.zeros(2, 1)}
    found = _with_its_gamma(state, {"learn_gammas": False, "gamma": gamma})["LOGGAMMA"]
    torch.testing.assert_close(found, torch.full((2, 1), 1 / 32).log())
    found = _with_its_gamma(state, {"learn_gammas": False, "gamma": 2**70})["LOGGAMMA"]
    torch.testing.assert_close(found, torch.full((2, 1), 2.0**70).log())


# --- arrays of numpy's


def test_array_whose_header_unpacks_to_gigabytes(tmp_path):
    header = b"\x93NUMPY\x02\x00" + struct.pack("<I", (1 << 32) - 1) + b" " * (1 << 25)
    file = rewritten({"directions.npy": header}, tmp_path / "d.npz", zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        refused(lambda path: numpy_files.load_named_array(path, "directions"), file, "cannot be read")
        assert tracemalloc.get_traced_memory()[1] < 1 << 23
    finally:
        tracemalloc.stop()


def test_text_beyond_unicode_is_refused(tmp_path):
    names = records_of_text(tmp_path / "whole.npz")
    file = rewritten({"names.npy": names.replace(b"a\0\0\0", b"a\0\x22\0")}, tmp_path / "d.npz")
    refused(lambda path: numpy_files.load_named_array(path, "names"), file, "Unicode")
    assert load_arrays(file) is None


def records_of_text(file):
    np.savez(file, names=np.array(["a", "b"]))
    assert numpy_files.load_named_array(file, "names") == ["a", "b"]
    return records_of(file)["names.npy"]


def test_readings_that_are_packed_are_made_anew(tmp_path):
    np.savez_compressed(tmp_path / "code.npz", along=np.zeros(1 << 20))
    assert load_arrays(tmp_path / "code.npz") is None
    np.savez(tmp_path / "code.npz", along=np.zeros(4))
    assert load_arrays(tmp_path / "code.npz")["along"].shape == (4,)


def test_readings_that_are_no_arrays_are_made_anew(tmp_path):
    whole, file = tmp_path / "whole.npz", tmp_path / "code.npz"
    np.savez(whole, along=np.zeros(4), bend=np.zeros(2))
    assert load_arrays(whole).keys() == {"along", "bend"}
    for name, record in (("along", b"along"), ("along.npy", b"no array"), ("more", b"")):
        assert load_arrays(rewritten(records_of(whole) | {name: record}, file)) is None
    claiming = records_of(whole)["along.npy"].replace(b"(4,)", b"(9,)")
    assert load_arrays(rewritten({"along.npy": claiming}, file)) is None


# --- JSON


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("[" * 40 + "]" * 40, "deep"),
        ("[" * 100_000, "not valid JSON"),
        ("9" * 5000, "not valid JSON"),
        (str(10**100), "bits"),
        ('{"%s": 1}' % ("k" * 2000), "key"),
        ('["\\ud800"]', "surrogate"),
        ('"' + "x" * (17 << 20) + '"', "larger"),
        ("[" + "1," * 100_000 + "1]", "items"),
    ],
    ids=["deep", "deeper", "digits", "number", "key", "surrogate", "large", "items"],
)
def test_json_beyond_the_limits(content, word, tmp_path):
    (tmp_path / "settings.json").write_text(content)
    refused(read_json, tmp_path / "settings.json", word)
