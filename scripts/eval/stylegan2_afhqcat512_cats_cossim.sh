#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_afhqcat512 cats cossim
walk_paths "$@"
