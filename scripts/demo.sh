#!/usr/bin/env bash
# The whole procedure on the embedded portraits: a pool, nine paths, a page, and what each path changed. If it was
# stopped, run it again to resume.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
GAN=stylegan2_portraits64
EXPERIMENT=experiments/complete/ContraCLIP_$GAN-W-K9-lines-eps1.1_1.8-paired-attributes

"$PYTHON" sample_gan.py --gan=$GAN --truncation=0.7 --num-samples=8

"$PYTHON" train.py --gan=$GAN --stylegan-space=W --truncation=0.7 --corpus=attributes --ckp-freq=20

"$PYTHON" traverse_latent_space.py --gif --strip --gif-fps=20 --shift-steps=15 --eps=0.1 --pool=$GAN-8 --exp="$EXPERIMENT"

"$PYTHON" evaluate.py --pool=$GAN-8 --exp="$EXPERIMENT"
