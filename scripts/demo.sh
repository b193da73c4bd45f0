#!/usr/bin/env bash
# The whole procedure on the embedded portraits: a pool, nine paths, a page. If it was stopped, run it again to resume.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}
GAN=stylegan2_portraits64

"$PYTHON" sample_gan.py --gan=$GAN --truncation=0.7 --num-samples=8

"$PYTHON" train.py --gan=$GAN --stylegan-space=W --truncation=0.7 --corpus=attributes \
    --num-latent-support-dipoles=32 --lss-beta=0.5 --loss=contrastive --temperature=0.1 --lr=0.02 \
    --min-shift-magnitude=0.4 --max-shift-magnitude=0.8 --batch-size=18 --max-iter=200 --ckp-freq=50

"$PYTHON" traverse_latent_space.py --gif --strip --gif-fps=20 --shift-steps=15 --eps=0.1 --pool=$GAN-8 \
    --exp=experiments/complete/ContraCLIP_$GAN-W-K9-D32-eps0.4_0.8-nonlinear_beta-0.5-contrastive_0.1-attributes
