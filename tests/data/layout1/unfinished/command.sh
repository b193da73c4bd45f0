#!/usr/bin/env bash
python train.py --gan=stylegan2_tiny.pth --clip-model=tiny_clip.pt --corpus=faces.txt --stylegan-space=W --truncation=0.7 --loss=contrastive --temperature=0.5 --lr=0.02 --batch-size=2 --no-cuda --num-latent-support-dipoles=4 --max-iter=40 --log-freq=5 --ckp-freq=7
