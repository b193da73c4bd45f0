#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" pggan_celebahq1024 complex cossim
walk_paths "$@"
