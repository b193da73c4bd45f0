"""Networks of the published shapes with random weights, which the benches run where no published ones are at hand."""


def random_generator(kind, resolution):
    """A frozen "stylegan2" or "pggan" that makes images of `resolution` pixels."""
    from models.pggan import ProgGAN
    from models.stylegan2 import StyleGAN2

    sizes = [4 << i for i in range(resolution.bit_length() - 2)]
    if kind == "stylegan2":
        generator = StyleGAN2([512] * 9, [min(512, 32768 // size) for size in sizes])
    else:
        generator = ProgGAN(512, [min(512, 16384 // size) for size in sizes])
    return generator.eval().requires_grad_(False)


def random_networks(kind, resolution):
    """(generator, CLIP ViT-B/32 encoder), the same at every call."""
    import torch

    from models.clip_encoder import CLIPEncoder, clip

    torch.manual_seed(0)
    generator = random_generator(kind, resolution)
    return generator, CLIPEncoder(clip.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12))
