"""What the benchmarks run: networks of the published shapes with random weights, and ContraCLIP on given networks."""


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
    """(generator, CLIP ViT-B/32 encoder), the same in every call."""
    import torch

    from models.clip_encoder import CLIPEncoder, clip

    torch.manual_seed(0)
    generator = random_generator(kind, resolution)
    return generator, CLIPEncoder(clip.model.CLIP(512, 224, 12, 768, 32, 77, 49408, 512, 8, 12))


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
