#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" pggan_car256 cars cossim
walk_paths "$@"
