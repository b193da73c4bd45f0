#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_ffhq1024 attributes cossim
walk_paths "$@"
