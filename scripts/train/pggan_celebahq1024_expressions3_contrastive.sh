#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" pggan_celebahq1024 expressions3 contrastive
train_paths "$@"
