#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" pggan_car256 cars contrastive
walk_paths "$@"
