"""What DCGAN's frozen layers save on a CPU: processor time on one thread, against the same layers in plain PyTorch.

    python -m scripts.bench.transposed
    python -m scripts.bench.transposed --gan faces.pt --batch-sizes 1 9 --repeats 20

For each layer and for all: forward, and forward and backward to the input; the least of some repetitions.
"""

import argparse
import os
import sys
import time


def parse(arguments):
    p = argparse.ArgumentParser(prog="python -m scripts.bench.transposed", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gan", default="dcgan_faces64", help="a DCGAN")
    p.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 9, 18, 36], metavar="B")
    p.add_argument("--repeats", type=int, default=11)
    return p.parse_args(arguments)


def plain_layer(layer, x):
    import torch.nn.functional as F

    stride, padding = (1, 0) if layer.first else (2, 1)
    x = F.conv_transpose2d(x, layer.weight, layer.bias, stride, padding)
    return F.relu(x) if layer.activation == "relu" else x.tanh()


def milliseconds(call, repeats):
    """The least processor time of a call, after one that is not counted."""
    call()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        found.append(time.process_time() - began)
    return 1000 * min(found)


def times(function, x, repeats):
    """(forward, forward and backward) in milliseconds."""
    import torch

    def both():
        given = x.clone().requires_grad_()
        function(given).sum().backward()

    with torch.no_grad():
        forward = milliseconds(lambda: function(x), repeats)
    return forward, milliseconds(both, repeats)


def compositions(generator, batch_size):
    """Yield (name, plain function, frozen function, input) of each layer and of the whole."""
    import torch

    z = torch.randn(batch_size, generator.z_dim)[:, :, None, None]
    layers = [getattr(generator, f"transposed{i}") for i in range(generator.num_layers)]

    def whole(apply):
        def run(x):
            for layer in layers:
                x = apply(layer, x)
            return x

        return run

    x = z
    for layer in layers:
        inputs, outputs = layer.weight.shape[:2]
        yield f"{inputs} -> {outputs}", lambda x, layer=layer: plain_layer(layer, x), layer, x
        x = layer(x)
    yield "all", whole(plain_layer), whole(lambda layer, x: layer(x)), z


def main(arguments):
    args = parse(arguments)
    os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported

    import torch

    from models.load_generator import load_generator

    torch.set_num_threads(1)
    generator = load_generator(args.gan)
    print(f"{args.gan}, one thread, milliseconds of processor time, torch {torch.__version__}\n")
    print("| batch | layer | forward, plain | frozen | forward and backward, plain | frozen |\n" + "|---" * 6 + "|")
    for batch_size in args.batch_sizes:
        for name, plain, frozen, x in compositions(generator, batch_size):
            forward, both = times(plain, x.contiguous(), args.repeats)
            channels_last = x.contiguous(memory_format=torch.channels_last)
            frozen_forward, frozen_both = times(frozen, channels_last, args.repeats)
            print(f"| {batch_size} | {name} | {forward:.2f} | {frozen_forward:.2f} | {both:.2f} | {frozen_both:.2f} |",
                  flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
