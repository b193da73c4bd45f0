#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" pggan_celebahq1024 attributes cossim
train_paths "$@"
