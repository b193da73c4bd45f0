"""The operations between convolutions: twins against their definitions, kernels against their twins.

The kernels' source is one for GPUs and, as plain C++, for main memory: so the same tests hold both to the twins, the
second wherever there is a C++ compiler. Tensors lie between guards there, which tell of every access beyond an end.
"""

import itertools
import json
import math
import os
import shutil
import stat
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from models import ops
from models.errors import UserError
from models.load_generator import load_generator
from models.ops import build, reference
from models.ops.library import BiasAct, Library, UpFirDn2d

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
GUARD = 64  # elements before and after a tensor
# up, down, padding (left, right, top, bottom), shape of the kernel
FILTERS = [
    (1, 1, (1, 1, 1, 1), (4, 4)),  # after a transposed convolution
    (2, 1, (2, 1, 2, 1), (4, 4)),  # on the way up
    (1, 2, (1, 1, 1, 1), (4, 4)),
    (2, 2, (3, 0, 2, 1), (4, 4)),
    (1, 1, (3, -1, -2, 5), (4, 4)),  # unlike sides, some cropped
    (2, 1, (-1, 4, 5, -2), (4, 4)),
    (1, 2, (5, 4, -1, 6), (4, 4)),
    (1, 1, (0, 0, 0, 0), (1, 1)),
    (3, 2, (2, 3, 1, 4), (3, 5)),
    ((1, 2), (3, 1), (0, 5, 2, 2), (2, 6)),
    ((2, 1), (1, 2), (4, 4, 0, 3), (4, 4)),
    (1, 3, (9, 9, 9, 9), (7, 2)),
]
SHAPES = [(2, 3, 5, 7), (1, 1, 4, 4), (3, 5, 1, 6), (1, 8, 16, 16), (2, 2, 9, 3)]


def uniform(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def exact_dtype(dtype):
    """How near a kernel, which rounds once, must be to a twin computed in float64."""
    return {"rtol": 2 * torch.finfo(dtype).eps, "atol": 2 * torch.finfo(dtype).eps}


def guarded(values, device="cpu", memory_format=torch.contiguous_format, offset=0):
    """The same tensor, with NaN before and after it in memory; `offset` elements off a multiple of 16 bytes."""
    like = torch.empty_like(values, memory_format=memory_format)
    store = torch.full((values.numel() + 2 * GUARD + offset,), math.nan, dtype=values.dtype, device=device)
    return store.as_strided(values.shape, like.stride(), GUARD + offset).copy_(values)


# ---- the twins -------------------------------------------------------------------------------------------------------


def upfirdn2d_by_definition(x, kernel, up, down, padding):
    """upfirdn2d of one plane (H, W), a pixel at a time: zeros between, zeros around, correlate, keep some."""
    (up_y, up_x), (down_y, down_x), (left, right, top, bottom) = up, down, padding
    height, width = x.shape[0] * up_y + top + bottom, x.shape[1] * up_x + left + right

    def at(row, column):
        row, column = row - top, column - left
        inside = 0 <= row < x.shape[0] * up_y and 0 <= column < x.shape[1] * up_x
        return x[row // up_y, column // up_x].item() if inside and row % up_y == 0 == column % up_x else 0.0

    taps = list(itertools.product(range(kernel.shape[0]), range(kernel.shape[1])))
    return torch.tensor(
        [
            [sum(kernel[i, j].item() * at(row + i, column + j) for i, j in taps)
             for column in range(0, width - kernel.shape[1] + 1, down_x)]
            for row in range(0, height - kernel.shape[0] + 1, down_y)
        ]
    )  # fmt: skip


@pytest.mark.parametrize("up, down, padding, size", FILTERS)
def test_upfirdn2d_is_what_its_name_says(up, down, padding, size):
    x, kernel = uniform(2, 2, 5, 6).double(), uniform(*size, seed=1).double()
    found = ops.upfirdn2d(x, kernel, up, down, padding)
    pairs = [(n, n) if isinstance(n, int) else n for n in (up, down)]
    for plane, expected in zip(x.flatten(0, 1), found.flatten(0, 1)):
        torch.testing.assert_close(upfirdn2d_by_definition(plane, kernel, *pairs, padding).double(), expected)


@pytest.mark.parametrize(
    "up, down, padding", [(1, 1, (2, 1, 1, 2)), (2, 1, (2, 1, 2, 1)), ((3, 2), (1, 2), (4, 2, 3, 3))]
)
def test_separable_filter_is_its_outer_product(up, down, padding):
    x, taps = uniform(2, 3, 6, 5).double(), uniform(4, seed=1).double()
    expected = ops.upfirdn2d(x, torch.outer(taps, taps), up, down, padding)
    torch.testing.assert_close(ops.upfirdn2d(x, taps, up, down, padding), expected)


def test_bias_act_is_what_it_says():
    x, bias, noise = uniform(2, 3, 4, 5).double(), uniform(3, seed=1).double(), uniform(2, 1, 4, 5, seed=2).double()
    found = ops.bias_act(x, bias, noise, slope=0.1, gain=3.0, clamp=1.5)
    for b, c, h, w in itertools.product(*map(range, x.shape)):
        value = (x[b, c, h, w] + bias[c] + noise[b, 0, h, w]).item()
        value = 3 * (value if value > 0 else 0.1 * value)
        assert found[b, c, h, w].item() == pytest.approx(max(-1.5, min(1.5, value)), abs=1e-12)
    assert torch.equal(ops.bias_act(x, slope=1.0), x)


def test_twins_have_first_and_second_derivatives():
    x, kernel = uniform(2, 2, 4, 3).double().requires_grad_(), uniform(3, 4, seed=1).double().requires_grad_()
    bias = uniform(2, seed=2).double().requires_grad_()
    noise = uniform(1, 1, 4, 3, seed=3).double().requires_grad_()

    def filtered(x, kernel):
        return ops.upfirdn2d(x, kernel, (2, 1), (1, 2), (3, 1, 2, 2))

    def activated(x, bias, noise):
        return ops.bias_act(x, bias, noise, 0.2, 1.5, clamp=1.0)

    for check in (gradcheck, gradgradcheck):
        assert check(filtered, (x, kernel))
        assert check(activated, (x, bias, noise))


def test_networks_images_are_as_before_to_the_bit(tiny_stylegan2, tiny_pggan):
    """What the operations took the place of, in the words that stood there."""
    layer, x = tiny_stylegan2.synthesis.layer2, uniform(2, 32, 8, 8)
    kernel = tiny_stylegan2.synthesis.upsample.kernel
    channels = x.shape[1]
    assert torch.equal(
        ops.upfirdn2d(x, kernel[0, 0], padding=(1, 1, 1, 1)),
        F.conv2d(F.pad(x, (1, 1, 1, 1)), kernel.expand(channels, 1, -1, -1), groups=channels),
    )
    spread = torch.zeros(2, channels, 16, 16)
    spread[:, :, ::2, ::2] = x
    assert torch.equal(
        ops.upfirdn2d(x, kernel[0, 0], up=2, padding=(2, 1, 2, 1)),
        F.conv2d(F.pad(spread, (2, 1, 2, 1)), kernel.expand(channels, 1, -1, -1), groups=channels),
    )
    noise, bias = layer.noise * 0.3, uniform(channels, seed=1)
    before = F.leaky_relu(x + layer.noise * 0.3 + bias[:, None, None], 0.2) * math.sqrt(2)
    assert torch.equal(ops.bias_act(x, bias, noise, 0.2, math.sqrt(2)), before)


@pytest.mark.parametrize(
    "arguments",
    [
        {"kernel": torch.ones(6, 6)},  # larger than the image
        {"kernel": torch.ones(2, 2), "padding": (-2, -2, 0, 0)},
        {"kernel": torch.ones(2, 2), "padding": (-4, 4, 0, 0)},  # nothing left of the image
        {"kernel": torch.ones(2, 2), "up": 0},
        {"kernel": torch.ones(2, 2), "down": (1, 0)},
        {"kernel": torch.ones(1, 1, 2, 2)},
    ],
)
def test_filters_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match="kernel"):
        ops.upfirdn2d(torch.zeros(1, 1, 4, 4), **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"bias": torch.zeros(3)},
        {"noise": torch.zeros(1, 1, 4, 5)},
        {"noise": torch.zeros(3, 1, 4, 4)},
        {"gain": 0.0},
        {"slope": -0.1},
        {"clamp": -1.0},
    ],
)
def test_activations_that_do_not_fit_are_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        ops.bias_act(torch.zeros(2, 2, 4, 4), **arguments)


# ---- the kernels -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compiled_for_main_memory(tmp_path_factory):
    """compiled(*flags) -> the Library of kernels.cu as plain C++."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    include = Path(torch.__file__).parent / "include"
    folder = tmp_path_factory.mktemp("kernels")

    def compile_(*flags):
        file = folder / f"kernels{len(list(folder.iterdir()))}.so"
        options = ["-x", "c++", "-std=c++17", "-O1", "-fPIC", "-shared", "-Wall", "-Werror", "-Wno-unused", *flags]
        # A GPU stops at an address that is no multiple of what is read there, where this processor would not.
        options += ["-fsanitize=alignment", "-fsanitize-undefined-trap-on-error"]
        subprocess.run([compiler, *options, "-isystem", include, build.SOURCE, "-o", file], check=True)
        return Library(file)

    return compile_


@pytest.fixture(scope="module", params=["main memory", "main memory, 64-bit offsets", "cuda"])
def backend(request):
    """(Library, device of its tensors)."""
    if request.param == "cuda":
        library, reason = build.kernels()
        if library is None:
            pytest.skip(reason)
        return library, "cuda"
    compiled = request.getfixturevalue("compiled_for_main_memory")
    return compiled(*["-DINDEX_LIMIT=0"] * ("64-bit" in request.param)), "cpu"


def upfirdn2d(library, x, kernel, up, down, padding):
    """ops.upfirdn2d by this library, whatever the device."""
    up, down = ops._pair(up), ops._pair(down)
    return UpFirDn2d.apply(x, kernel, up, down, padding, ops._filtered_size(x, kernel, up, down, padding), library)


def assert_gradients_are_the_twins(function, twin, inputs, dtype):
    """Value and first derivatives of function(*inputs), against those of the twin in float64."""
    exact = [values.detach().double().cpu().requires_grad_() for values in inputs]
    inputs = [values.requires_grad_() for values in inputs]
    y, expected = function(*inputs), twin(*exact)
    assert y.dtype == dtype and y.shape == expected.shape
    torch.testing.assert_close(y.cpu().double(), expected, **exact_dtype(dtype))
    gradient = uniform(*y.shape, seed=9).to(y)
    found = torch.autograd.grad(y, inputs, gradient)
    for values, of_twin in zip(found, torch.autograd.grad(expected, exact, gradient.cpu().double())):
        tolerance = exact_dtype(dtype)
        tolerance["atol"] *= max(1, of_twin.abs().max().item() if of_twin.numel() else 1)
        torch.testing.assert_close(values.cpu().double(), of_twin, **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("up, down, padding, size", FILTERS)
def test_upfirdn2d_kernel_is_its_twin(backend, up, down, padding, size, memory_format, dtype):
    library, device = backend
    kernel = uniform(*size, seed=1).to(device)
    pairs = ops._pair(up), ops._pair(down)
    for shape in SHAPES:
        x = guarded(uniform(*shape).to(dtype), device, memory_format, offset=1)
        try:
            ops._filtered_size(x, kernel, *pairs, padding)
        except ValueError:
            continue
        y = upfirdn2d(library, x, kernel, up, down, padding)
        assert y.is_contiguous(memory_format=memory_format)
        assert_gradients_are_the_twins(
            lambda x: upfirdn2d(library, x, kernel, up, down, padding),
            lambda x: reference.upfirdn2d(x, kernel.cpu(), *pairs, padding),
            [x],
            dtype,
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clamp", [None, 0.7])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("noise_batch", [None, 1, 2])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("offset", [0, 1])  # whether 16 bytes are read at once
def test_bias_act_kernel_is_its_twin(backend, offset, memory_format, noise_batch, with_bias, clamp, dtype):
    library, device = backend
    for batch, channels, height, width in [(2, 3, 5, 7), (2, 1, 1, 1), (2, 8, 4, 4), (2, 5, 1, 3), (2, 1, 9, 2)]:
        x = guarded(uniform(batch, channels, height, width).to(dtype), device, memory_format, offset)
        inputs = [x]
        if with_bias:
            inputs.append(guarded(uniform(channels, seed=1), device))
        if noise_batch:
            inputs.append(guarded(uniform(noise_batch, 1, height, width, seed=2), device))

        def arguments(values):
            x, *rest = values
            return x, rest.pop(0) if with_bias else None, rest.pop(0) if noise_batch else None, 0.2, 1.5, clamp

        # No value may lie where the clamp's derivative jumps, once it is rounded to half precision.
        x64, bias, noise, *_ = arguments([values.cpu().double() for values in inputs])
        exact = reference.bias_act(x64, bias, noise, 0.2, 1.5, None)
        near = ((exact.abs() - (clamp or 9)).abs() < 8e-3) | (exact.abs() < 1e-5)
        with torch.no_grad():
            x.masked_fill_(near.to(device), 3.0)
        assert_gradients_are_the_twins(
            lambda *values: BiasAct.apply(*arguments(values), library),
            lambda *values: reference.bias_act(*arguments(values)),
            inputs,
            dtype,
        )
        assert BiasAct.apply(*arguments(inputs), library).stride() == torch.empty_like(x).stride()


def test_kernels_take_any_strides(backend):
    library, device = backend
    store = uniform(4, 6, 10, 12).to(device)
    kernel = uniform(4, 4, seed=1).to(device)
    views = [
        store[1::2, ::3, 2:9, 1:11:2],
        store.transpose(1, 3),
        store.permute(3, 2, 1, 0)[:5],
        store[:1].expand(3, -1, -1, -1),
        store[:, :1, :1].expand(-1, 5, 7, -1),
        store.contiguous(memory_format=torch.channels_last)[:, 1:4],
    ]
    for x, up, down in itertools.product(views, (1, 2), (1, 2)):
        expected = reference.upfirdn2d(x.cpu(), kernel.cpu(), (up, up), (down, down), (2, 1, 2, 1))
        torch.testing.assert_close(upfirdn2d(library, x, kernel, up, down, (2, 1, 2, 1)).cpu(), expected)
        transposed = upfirdn2d(library, x, kernel.t(), up, down, (2, 1, 2, 1)).cpu()
        torch.testing.assert_close(
            transposed, reference.upfirdn2d(x.cpu(), kernel.t().cpu(), (up, up), (down, down), (2, 1, 2, 1))
        )
        bias = uniform(2 * x.shape[1], seed=2).to(device)[::2]
        noise = uniform(1, 1, x.shape[3], x.shape[2], seed=3).to(device).transpose(2, 3)
        found = BiasAct.apply(x, bias, noise, 0.2, 1.0, None, library)
        torch.testing.assert_close(found.cpu(), reference.bias_act(x.cpu(), bias.cpu(), noise.cpu(), 0.2, 1.0, None))


def test_gradients_may_have_other_strides_than_outputs(backend):
    library, device = backend
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = uniform(2, 3, 4, 4).to(device).contiguous(memory_format=memory_format).requires_grad_()
        one = torch.ones(1, 1, device=device)
        for gradient in (one.expand(2, 3, 4, 4), uniform(4, 4, 3, 2).to(device).permute(3, 2, 0, 1)):
            y = BiasAct.apply(x, None, None, 0.2, 1.0, None, library)
            (found,) = torch.autograd.grad(y, x, gradient)
            torch.testing.assert_close(found, gradient * torch.where(x > 0, 1.0, 0.2))
            (found,) = torch.autograd.grad(upfirdn2d(library, x, one, 1, 1, (0, 0, 0, 0)), x, gradient)
            torch.testing.assert_close(found, gradient.contiguous())


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_kernels_take_empty_batches(backend, shape):
    library, device = backend
    x = torch.zeros(shape, device=device, requires_grad=True)
    bias = torch.zeros(shape[1], device=device, requires_grad=True)
    y = upfirdn2d(library, x, torch.ones(4, 4, device=device), 2, 1, (2, 1, 2, 1))
    assert y.shape == (*shape[:2], 8, 8)
    z = BiasAct.apply(y, bias, torch.zeros(1, 1, 8, 8, device=device), 0.2, 1.0, None, library)
    z.sum().backward()
    assert x.grad.shape == shape and not bias.grad.any()


def test_not_a_number_and_infinity_pass_through_the_kernel(backend):
    library, device = backend
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0]).view(1, 1, 2, 2).to(device)
    for clamp in (None, 2.0):
        found = BiasAct.apply(x, None, None, 0.2, 1.0, clamp, library).cpu()
        torch.testing.assert_close(found, reference.bias_act(x.cpu(), None, None, 0.2, 1.0, clamp), equal_nan=True)


def test_kernels_refuse_a_second_derivative(backend):
    library, device = backend
    x = uniform(1, 1, 4, 4).to(device).requires_grad_()
    for y in (
        upfirdn2d(library, x, torch.ones(4, 4, device=device), 1, 1, (1, 1, 1, 1)),
        BiasAct.apply(x, None, None, 0.2, 1.0, None, library),
    ):
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        with pytest.raises(RuntimeError, match="differentiate twice"):
            first.sum().backward()


def test_kernels_write_their_output_and_nothing_else(backend):
    """Outputs are allocated by torch; here they are laid between guards in their place."""
    library, device = backend
    made = []
    empty_like, empty = torch.empty_like, torch.empty

    def between_guards(like):
        store = torch.full((like.numel() + 2 * GUARD,), 77.0, dtype=like.dtype, device=like.device)
        made.append((store, like))
        return store.as_strided(like.shape, like.stride(), GUARD)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "empty_like", lambda x: between_guards(empty_like(x)))
        patch.setattr(torch, "empty", lambda *size, **options: between_guards(empty(*size, **options)))
        for dtype, (up, down, padding, size) in itertools.product(DTYPES, FILTERS):
            x = uniform(2, 3, 9, 11).to(device, dtype)
            y = library.upfirdn2d(
                x, uniform(*size, seed=1).to(device), ops._pair(up), ops._pair(down), (padding[2], padding[0]),
                ops._filtered_size(x, torch.zeros(size), ops._pair(up), ops._pair(down), padding),
            )  # fmt: skip
            library.bias_act_backward(y, library.bias_act(y, None, None, 0.2, 1.0, None), 0.2, 1.0, None)
    assert len(made) == 3 * len(DTYPES) * len(FILTERS)
    for store, _ in made:
        assert (store[:GUARD] == 77).all() and (store[-GUARD:] == 77).all() and (store[GUARD:-GUARD] != 77).all()


def test_images_too_long_for_the_kernels_are_refused(backend):
    library, device = backend
    x = torch.zeros((), device=device).expand(1, 1, 1 << 29, 1)
    with pytest.raises(RuntimeError, match="invalid argument"):
        library.upfirdn2d(x, torch.ones(1, 1, device=device), (4, 1), (1, 1), (0, 0), (1, 1))


@pytest.mark.parametrize("network", ["stylegan2", "pggan"])
def test_generators_images_and_gradients_by_kernels(backend, network, data, monkeypatch):
    """A whole generator, in training: every parameter's gradient is the twins'."""
    library, device = backend
    images, gradients = [], []
    codes = uniform(2, 10, 32) if network == "stylegan2" else uniform(2, 32)
    calls = []
    for serving in (lambda x: None, lambda x: calls.append(x) or library):
        monkeypatch.setattr(ops, "_kernels", serving)
        generator = load_generator(data / f"{network}_tiny.pth", device).requires_grad_(True)
        w = codes.to(device).requires_grad_()
        image = generator(w)
        image.square().mean().backward()
        images.append(image.detach())
        gradients.append([w.grad, *(p.grad for p in generator.parameters() if p.grad is not None)])
    assert calls
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
    for before, after in zip(*gradients):
        torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-5 * max(1, before.abs().max().item()))


# ---- which of the two serves -----------------------------------------------------------------------------------------


def test_kernels_serve_on_a_gpu_and_twins_everywhere_else(monkeypatch, capsys):
    class OnGPU:
        is_cuda, dtype = True, torch.float32

    for mode in (*ops.MODES, "auto"):
        monkeypatch.setattr(ops, "_mode", mode)
        monkeypatch.setattr(build, "kernels", lambda: ("library", None))
        assert ops._kernels(OnGPU()) == (None if mode == "reference" else "library")
        assert ops._kernels(torch.zeros(1)) is None
    monkeypatch.setattr(OnGPU, "dtype", torch.float64)
    assert ops._kernels(OnGPU()) is None
    monkeypatch.setattr(OnGPU, "dtype", torch.float16)
    monkeypatch.setattr(build, "kernels", lambda: (None, "no tools"))
    monkeypatch.setattr(ops, "_told", False)
    assert [ops._kernels(OnGPU()) for _ in range(3)] == [None] * 3
    assert capsys.readouterr().err == "the CUDA kernels are not used, but plain PyTorch: no tools\n"


def test_set_ops(monkeypatch):
    monkeypatch.setattr(ops, "_mode", "auto")
    ops.set_ops("reference")
    assert ops._mode == "reference"
    with pytest.raises(ValueError, match="turbo"):
        ops.set_ops("turbo")
    monkeypatch.setattr(build, "kernels", lambda: (None, "there is no nvcc"))
    with pytest.raises(UserError, match="there is no nvcc"):
        ops.set_ops("cuda")
    assert ops._mode == "reference"
    monkeypatch.setattr(build, "kernels", lambda: ("library", None))
    ops.set_ops("cuda")
    assert ops._mode == "cuda"


# ---- the compilation -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(build._toolkit() is None, reason="there is no nvcc")
def test_kernels_compile_without_a_gpu_and_are_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", os.defpath + os.pathsep + "/usr/local/bin")  # ninja is beside the interpreter
    library, reason = build.load(["9.0"])
    assert reason is None
    assert {file.suffix for file in tmp_path.iterdir()} == {".so", ".lock"}  # nothing of the compilation is left
    monkeypatch.setattr(build, "_build", None)  # would be called if it were made again
    assert build.load(["9.0"])[1] is None
    if not torch.cuda.is_available():  # a kernel that cannot be started says so
        with pytest.raises(RuntimeError, match=r"could not be started: .*(CUDA|driver)"):
            library.bias_act(torch.zeros(1, 1, 2, 2), None, None, 0.2, 1.0, None)


@pytest.fixture
def broken_nvcc(tmp_path, monkeypatch):
    """A toolkit whose nvcc fails; returns the file in which each of its compilations leaves a line."""
    nvcc, log = tmp_path / "toolkit" / "bin" / "nvcc", tmp_path / "compilations"
    nvcc.parent.mkdir(parents=True)
    (tmp_path / "toolkit" / "lib64").mkdir()
    version = '[ "$1" = --version ] && echo 1.0 && exit'
    lines = ["#!/bin/sh", version, f"echo >>{log}", "sleep 0.2", "echo 'x.cu: error: no'", "exit 1"]
    nvcc.write_text("\n".join(lines) + "\n")
    nvcc.chmod(nvcc.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CUDA_HOME", str(nvcc.parent.parent))
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    return log


def test_failed_compilation_is_tried_again_only_when_something_has_changed(broken_nvcc, tmp_path, monkeypatch):
    def compilations():
        return len(broken_nvcc.read_text().splitlines())

    for _ in range(2):
        library, reason = build.load(["9.0"])
        assert library is None and "x.cu: error: no" in reason and "\n" not in reason
        assert compilations() == 1
    (failure,) = (tmp_path / "cache").glob("*.failed")
    assert str(failure) in reason and "x.cu: error: no" in json.loads(failure.read_text())["log"]
    build.load(["8.0"])  # other GPUs
    assert compilations() == 2
    nvcc = tmp_path / "toolkit" / "bin" / "nvcc"
    nvcc.write_text(nvcc.read_text().replace("1.0", "1.1"))
    build.load(["9.0"])
    assert compilations() == 3
    source = tmp_path / "kernels.cu"
    source.write_text(build.SOURCE.read_text() + "\n")
    monkeypatch.setattr(build, "SOURCE", source)
    for _ in range(2):
        build.load(["9.0"])
        assert compilations() == 4
    assert {file.suffix for file in (tmp_path / "cache").iterdir()} == {".failed", ".lock"}


def test_machine_without_a_compiler_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    monkeypatch.setattr(build, "_toolkit", lambda: None)
    assert "nvcc" in build.load(["9.0"])[1]


def test_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "file"))
    library, reason = build.load(["9.0"])
    assert library is None and str(tmp_path / "file") in reason


def test_those_who_ask_at_once_compile_once(broken_nvcc):
    """Threads stand for processes here: the lock, on a file that each opens for itself, keeps both apart."""
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: build.load(["9.0"]), range(4)))
    assert len(set(answers)) == 1 and "x.cu: error: no" in answers[0][1]
    assert len(broken_nvcc.read_text().splitlines()) == 1
