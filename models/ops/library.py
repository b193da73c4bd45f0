"""The compiled kernels as functions of tensors, with their first derivatives."""

import ctypes

import torch
from torch.autograd.function import once_differentiable

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # the numbers that kernels.cu uses

_int, _int64, _float, _pointer = ctypes.c_int, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class _UpFirDnArguments(ctypes.Structure):
    _fields_ = (
        *((name, _int64 * 4) for name in ("x_size", "x_stride", "y_size", "y_stride")),
        *((name, _int64 * 2) for name in ("filter_size", "up", "down", "pad")),
        ("flip", _int64),
        ("channels_last", _int64),
    )


class Library:
    """The functions of a compiled kernels.cu. Tensors are float32, float16 or bfloat16, all on one device."""

    def __init__(self, file):
        """Raises OSError if the file cannot be loaded."""
        functions = ctypes.CDLL(str(file))
        self._bias_act = functions.contraclip_bias_act
        self._bias_act.argtypes = (
            _int, *[_pointer] * 4, *[_int64] * 3, _int, _int, *[_float] * 3, _pointer
        )  # fmt: skip
        self._bias_act_backward = functions.contraclip_bias_act_backward
        self._bias_act_backward.argtypes = (_int, *[_pointer] * 3, _int64, *[_float] * 3, _pointer)
        self._upfirdn2d = functions.contraclip_upfirdn2d
        self._upfirdn2d.argtypes = (_int, *[_pointer] * 3, ctypes.POINTER(_UpFirDnArguments), _pointer)
        self._error = functions.contraclip_error
        self._error.argtypes, self._error.restype = (_int,), ctypes.c_char_p

    def _launch(self, function, x, *arguments):
        """Call a function on the device of x and its current stream. Raises RuntimeError if it reports an error."""
        with torch.cuda.device_of(x):
            stream = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else None
            error = function(DTYPES[x.dtype], *arguments, stream)
        if error:
            raise RuntimeError(f"a CUDA kernel could not be started: {self._error(error).decode()}")

    def bias_act(self, x, bias, noise, slope, gain, clamp):
        """As `models.ops.bias_act`."""
        x = _dense(x)
        y = torch.empty_like(x)
        bias, noise = (_float_on(x, values) for values in (bias, noise))
        if x.numel():
            self._launch(
                self._bias_act, x, x.data_ptr(), _address(bias), _address(noise), y.data_ptr(),
                x.shape[0], x.shape[1], x.shape[2] * x.shape[3], noise is not None and noise.shape[0] > 1,
                _is_channels_last(x), slope, gain, -1.0 if clamp is None else clamp,
            )  # fmt: skip
        return y

    def bias_act_backward(self, gradient, y, slope, gain, clamp):
        """The gradient of bias_act's y -> that of its x, in the memory format of y."""
        gradient = gradient.contiguous(memory_format=_memory_format(y))
        result = torch.empty_like(y)
        if y.numel():
            self._launch(
                self._bias_act_backward, y, gradient.data_ptr(), y.data_ptr(), result.data_ptr(),
                y.numel(), slope, gain, -1.0 if clamp is None else clamp,
            )  # fmt: skip
        return result

    def upfirdn2d(self, x, kernel, up, down, pad, size, flip=False):
        """`models.ops.upfirdn2d` for a kernel (kh, kw), pad (top, left) and the output's size (height, width).

        flip: mirror the kernel in both directions.
        """
        kernel = _float_on(x, kernel)
        y = torch.empty((*x.shape[:2], *size), dtype=x.dtype, device=x.device, memory_format=_memory_format(x))
        if y.numel():
            arguments = _UpFirDnArguments(
                tuple(x.shape), x.stride(), tuple(y.shape), y.stride(), tuple(kernel.shape), up, down, pad, flip,
                _is_channels_last(x),
            )  # fmt: skip
            self._launch(self._upfirdn2d, x, x.data_ptr(), kernel.data_ptr(), y.data_ptr(), ctypes.byref(arguments))
        return y


def _is_channels_last(x):
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _memory_format(x):
    return torch.channels_last if _is_channels_last(x) else torch.contiguous_format


def _dense(x):
    return x.contiguous(memory_format=_memory_format(x))


def _address(tensor):
    return None if tensor is None else tensor.data_ptr()


def _float_on(x, values):
    """Parameters as contiguous float32, which the kernels need; not moved between devices, which would wait for the
    GPU."""
    if values is None:
        return None
    if values.device != x.device:
        raise RuntimeError(f"expected all tensors on one device, found {x.device} and {values.device}")
    return values.detach().to(torch.float32).contiguous()


class BiasAct(torch.autograd.Function):
    """`models.ops.bias_act` by a Library, differentiable once with respect to x, bias and noise."""

    @staticmethod
    def forward(ctx, x, bias, noise, slope, gain, clamp, library):
        y = library.bias_act(x, bias, noise, slope, gain, clamp)
        ctx.save_for_backward(y)
        ctx.of_parameters = tuple(None if p is None else (p.dtype, p.shape) for p in (bias, noise))
        ctx.settings, ctx.library = (slope, gain, clamp), library
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        (y,) = ctx.saved_tensors
        dx = ctx.library.bias_act_backward(gradient, y, *ctx.settings)
        _, needs_bias, needs_noise, *_ = ctx.needs_input_grad
        bias, noise = ctx.of_parameters
        d_bias = dx.sum(dim=(0, 2, 3), dtype=bias[0]) if needs_bias else None
        d_noise = dx.sum(dim=1, keepdim=True, dtype=noise[0]).sum_to_size(noise[1]) if needs_noise else None
        return dx, d_bias, d_noise, None, None, None, None


class UpFirDn2d(torch.autograd.Function):
    """`models.ops.upfirdn2d` by a Library for a kernel (kh, kw), differentiable once with respect to x."""

    @staticmethod
    def forward(ctx, x, kernel, up, down, padding, size, library):
        left, _, top, _ = padding
        ctx.save_for_backward(kernel)
        ctx.up, ctx.down, ctx.pad, ctx.size, ctx.library = up, down, (top, left), x.shape[2:], library
        return library.upfirdn2d(x, kernel, up, down, ctx.pad, size)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        # y[o] is the sum of kernel[j] x[i] where i up = o down + j - pad. So the gradient of x[i] is the sum of
        # kernel[j] times that of y[o] where o down = i up + pad - j: the same operation with up and down exchanged, the
        # kernel mirrored (j -> taps - 1 - j), and a pad of taps - 1 - pad.
        (kernel,) = ctx.saved_tensors
        pad = tuple(taps - 1 - before for taps, before in zip(kernel.shape, ctx.pad))
        dx = ctx.library.upfirdn2d(gradient, kernel, ctx.down, ctx.up, pad, ctx.size, flip=True)
        return dx, None, None, None, None, None, None
