#!/usr/bin/env bash
# The comparison on photographs: StyleGAN2 of FFHQ, read by the judge `faces`. It needs a GPU, and the weights of the
# generator, of CLIP and of the judge's networks; `download.py` says what each one is and under which terms.
#
#     python download.py --only stylegan2_ffhq1024 fairface celeba_attributes au_detector sfd hopenet arcface
#     bash scripts/compare/faces.sh            an hour for each run; stop it and run it again as you like
#     BUDGET=600 bash scripts/compare/faces.sh
#
# A run's budget is the clock's time. The figures go into experiments/compare/faces.json, table, plot and picture beside it.
set -euo pipefail
cd "$(dirname "$0")/../.."
DOCS=experiments/compare/faces
WORLD=stylegan2_ffhq1024
mkdir -p "$DOCS"
[ -e "$DOCS/comparison.md" ] || printf '<!-- table of %s -->\n<!-- end of table -->\n' "$WORLD" > "$DOCS/comparison.md"
"${PYTHON:-python}" -m scripts.compare --world "$WORLD" --clock --budget "${BUDGET:-3600}" --results "$DOCS.json" --docs "$DOCS" "$@"
