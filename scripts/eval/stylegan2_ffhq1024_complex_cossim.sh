#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_ffhq1024 complex cossim
walk_paths "$@"
