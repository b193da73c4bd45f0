"""What `models.custom` asks of a user's own module, checked on a few codes; each breach is told in one line."""

import operator

import torch

from models.errors import UserError

CODES = 2
LARGEST = 8192  # pixels
OVERSHOOT = 2.0  # networks without a tanh at the end leave [-1, 1] a little; images in [0, 255] or the like do not
SAME = 1e-4  # between two images of the same codes: GPUs may sum in another order
LEAST = 1e-6  # between images of different codes
SAME_ALONE = 1e-2  # between a code's images in a batch and alone: by other kernels, perhaps in TF32


def sizes(module, gan):
    """(z_dim, resolution) of a module. Raises UserError where it lacks one."""
    found = []
    for name in ("z_dim", "resolution"):
        value = getattr(module, name, None)
        try:
            number = operator.index(value)
        except TypeError:
            number = 0
        if isinstance(value, bool) or number < 1:
            state = "has no" if value is None else f"has the {name} {str(value)[:40]!r}, not a positive"
            raise UserError(f"{gan}: its module {state}" + (f" {name}" if value is None else " whole number"))
        found.append(number)
    if found[1] > LARGEST:
        raise UserError(f"{gan}: its resolution is {found[1]}, which must be at most {LARGEST}")
    return tuple(found)


def check(module, z_dim, resolution, device, gan, call):
    """Raise UserError at the first breach. Returns some w as `mapping` gives them, or None where there is no W.

    call(name, function, codes): function(codes), with whatever it raises told as a UserError.
    """
    z = torch.randn(CODES, z_dim, generator=torch.Generator().manual_seed(0)).to(device)
    contract = _Contract(gan, resolution, call)
    with torch.enable_grad():
        images = contract.check_forward(module, z)
        parts = [name for name in ("mapping", "synthesis") if callable(getattr(module, name, None))]
        if len(parts) == 1:
            lacking = {"mapping": "synthesis(w)", "synthesis": "mapping(z)"}[parts[0]]
            contract.refuse(f"its module has {parts[0]} and lacks {lacking}: it needs both or neither")
        return contract.check_w(module, z, images) if parts else None


class _Contract:
    def __init__(self, gan, resolution, call):
        self.gan, self.resolution, self.call = gan, resolution, call

    def refuse(self, breach):
        raise UserError(f"{self.gan}: {breach}")

    def check_forward(self, module, z):
        """The images of z (B, z_dim)."""
        codes = z.clone().requires_grad_()
        made = self.images("forward(z)", module, codes)
        images = made.detach()
        with torch.no_grad():
            if _differ(self.images("forward(z)", module, z), images, SAME):
                self.refuse("forward(z) gives another image for the same z: it must draw nothing, as noise")
            if _differ(self.images("forward(z)", module, z[:1]), images[:1], SAME_ALONE):
                self.refuse("forward(z) gives another image for a z alone than in a batch: rows must not mix")
        if not _differ(images[1:], images[:1], LEAST):
            self.refuse("forward(z) ignores z: it gives the same image for each")
        self.check_gradient("forward(z)", made, {"z": codes})
        return images

    def check_w(self, module, z, images):
        """w as `mapping` gives them, for z and the images that `forward` makes of them."""
        codes = z.clone().requires_grad_()
        w = self.call("mapping(z)", module.mapping, codes)
        self.check_tensor("mapping(z)", w, z)
        if w.ndim not in (2, 3) or len(w) != len(z) or not w.numel():
            self.refuse(f"mapping(z) gives shape {tuple(w.shape)}, expected ({len(z)}, w_dim) or ({len(z)}, layers, "
                        "w_dim)")
        if not w.requires_grad:
            self.refuse("mapping(z) passes no gradient to z: leave out no_grad, detach and the like")
        made = self.images("synthesis(w)", module.synthesis, w)
        if _differ(made.detach(), images, SAME_ALONE):
            self.refuse("synthesis(mapping(z)) gives another image than forward(z): they must be the same")
        self.check_gradient("synthesis(w)", made, {"w": w, "z": codes})
        return w.detach()

    def images(self, name, function, codes):
        images = self.call(name, function, codes)
        self.check_tensor(name, images, codes)
        expected = (len(codes), 3, self.resolution, self.resolution)
        if tuple(images.shape) != expected:
            self.refuse(f"{name} gives shape {tuple(images.shape)}, expected {expected} for {len(codes)} codes at "
                        f"resolution {self.resolution}")
        low, high = images.min().item(), images.max().item()
        if low < -OVERSHOOT or high > OVERSHOOT or low >= 0:
            advice = ": 2 * x - 1 brings [0, 1] there" if low >= 0 and high <= 1 else ""
            self.refuse(f"{name} gives numbers from {low:.3g} to {high:.3g}, expected images in [-1, 1]{advice}")
        return images

    def check_tensor(self, name, found, codes):
        if not isinstance(found, torch.Tensor):
            self.refuse(f"{name} gives a {type(found).__name__}, not a tensor")
        if found.device != codes.device:
            self.refuse(f"{name} gives a tensor on {found.device} for one on {codes.device}: make its tensors there "
                        "where those that it gets are")
        if not found.is_floating_point():
            self.refuse(f"{name} gives {str(found.dtype).removeprefix('torch.')}, not numbers of floating point")
        if not found.isfinite().all():
            self.refuse(f"{name} gives NaN or infinity")

    def check_gradient(self, name, images, codes):
        """codes: {what they are called: codes}, each of which a gradient must reach."""
        found = [None] * len(codes)
        if images.requires_grad:
            weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(1)).to(images.device)
            loss = (images.float() * weights).sum()
            found = self.call(f"the gradient of {name}", lambda given: _gradients(loss, given), [*codes.values()])
        for what, gradient in zip(codes, found):
            if gradient is None or not gradient.flatten(1).any(dim=1).all():
                self.refuse(f"{name} passes no gradient to {what}: leave out no_grad, detach, rounding and the like")
            if not gradient.isfinite().all():
                self.refuse(f"the gradient of {name} to {what} is NaN or infinite")


def _gradients(loss, codes):
    return torch.autograd.grad(loss, codes, allow_unused=True)


def _differ(found, expected, tolerance):
    return (found.float() - expected.float()).abs().max().item() > tolerance
