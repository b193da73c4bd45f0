#!/usr/bin/env bash
source "$(dirname "$0")/../paper.sh" stylegan2_car512 cars contrastive
train_paths "$@"
