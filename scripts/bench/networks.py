"""What the benchmarks run: networks of the published shapes with random weights, and ContraCLIP on given networks."""


RESOLUTIONS = {
    "stylegan2": (256, 1024), "pggan": (256, 1024), "biggan": (128,), "biggan-deep": (128, 256, 512),
}  # fmt: skip


def random_generator(kind, resolution):
    """A frozen generator of RESOLUTIONS' kinds that makes images of `resolution` pixels."""
    from models.biggan import BigGAN, BigGANDeep
    from models.formats.biggan import PUBLISHED
    from models.pggan import ProgGAN
    from models.stylegan2 import StyleGAN2

    if kind == "biggan":
        return BigGAN(120, 128, 1000, [3], [1536, 1536, 768, 384, 192, 96]).eval().requires_grad_(False)
    if kind == "biggan-deep":
        channels = [128 * multiple for multiple in PUBLISHED[RESOLUTIONS[kind].index(resolution)]]
        upsampling = "01" * (len(channels) // 2)
        return BigGANDeep(128, 128, 1000, 51, 8, channels, upsampling).eval().requires_grad_(False)
    sizes = [4 << i for i in range(resolution.bit_length() - 2)]
    if kind == "stylegan2":
        generator = StyleGAN2([512] * 9, [min(512, 32768 // size) for size in sizes])
    else:
        generator = ProgGAN(512, [min(512, 16384 // size) for size in sizes])
    return generator.eval().requires_grad_(False)


def random_networks(kind, resolution):
    """(generator, CLIP ViT-B/32 encoder), the same in every call."""
    import torch

    torch.manual_seed(0)
    return random_generator(kind, resolution), random_clip()


def random_clip():
    """A frozen encoder of the shape of CLIP ViT-B/32."""
    from models.clip_encoder import CLIPEncoder, clip

    return CLIPEncoder(clip.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12))


def contraclip(space, clip_encoder, text_features, num_dipoles, radius, **settings):
    """The method `lib.methods.contraclip.ContraCLIP` on these networks, with random support sets.

    text_features (K, 2, E): of the poles of K dipoles. settings: of `ContraCLIPSettings`.
    """
    import torch

    from lib.methods.contraclip import ContraCLIP, ContraCLIPSettings
    from lib.paths.support_sets import CorpusSupportSets, LatentSupportSets

    settings = ContraCLIPSettings(gan="", loss="contrastive", **settings)
    method = ContraCLIP(settings, space, [f"direction {k}" for k in range(len(text_features))])
    method.clip_encoder = clip_encoder
    method.text = CorpusSupportSets(text_features, settings.css_beta).to(space.device)
    seeded = torch.Generator().manual_seed(0)
    sets = LatentSupportSets.random(len(text_features), num_dipoles, space.dim, radius, 0.5, seeded)
    method.trained = sets.to(space.device)
    return method
