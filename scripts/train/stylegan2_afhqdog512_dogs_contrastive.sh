#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_afhqdog512 dogs contrastive
train_paths "$@"
