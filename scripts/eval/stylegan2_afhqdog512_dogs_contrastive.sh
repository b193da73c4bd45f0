#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_afhqdog512 dogs contrastive
walk_paths "$@"
