#!/usr/bin/env bash
# The whole procedure on an embedded generator: a pool, paths, a page, and what each path changed. If it was stopped, run
# it again to resume.
#
#   scripts/demo.sh [faces|portraits]
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python}

case ${1:-faces} in
  faces)
    # Ten paths of photographic faces, from codes in which the judge finds a face.
    GAN=dcgan_faces64 CORPUS=faces
    CODES=(--truncation=0.85 --accepted-by=faces64)
    WALK=(--shift-steps=15 --eps=0.17)
    MEASURED_CODES=16
    MEASURED=(--steps=3 --samples=400)  # the judge's networks take 25 ms per image
    NOTE="The mean is of all ten paths. This generator hardly shows the last one, woman and man, and the figures in
docs/faces.md leave it out: evaluate.py --paths=0,1,2,3,4,5,6,7,8 does so too."
    EXPERIMENT=experiments/complete/ContraCLIP_$GAN-Z-K10-lines-eps1.1_1.8-paired-$CORPUS
    ;;
  portraits)
    # Nine paths of drawn portraits, whose factors are known.
    GAN=stylegan2_portraits64 CORPUS=attributes
    CODES=(--truncation=0.7)
    WALK=(--shift-steps=15 --eps=0.1)
    MEASURED_CODES=32
    MEASURED=()
    NOTE=
    EXPERIMENT=experiments/complete/ContraCLIP_$GAN-W-K9-lines-eps1.1_1.8-paired-$CORPUS
    ;;
  *)
    echo "demo.sh: there is a demo of faces and one of portraits, not of $1" >&2
    exit 2
    ;;
esac

"$PYTHON" train.py --gan=$GAN --corpus=$CORPUS --ckp-freq=20

"$PYTHON" sample_gan.py --gan=$GAN "${CODES[@]}" --num-samples=8
"$PYTHON" traverse_latent_space.py --gif-fps=20 "${WALK[@]}" --pool=$GAN-8 --exp="$EXPERIMENT"

# Measured from codes that no setting was chosen with.
"$PYTHON" sample_gan.py --gan=$GAN "${CODES[@]}" --num-samples=$MEASURED_CODES --seed=10001
"$PYTHON" evaluate.py --pool=$GAN-$MEASURED_CODES "${WALK[@]}" "${MEASURED[@]}" --exp="$EXPERIMENT"
[ -z "$NOTE" ] || echo "$NOTE"
echo "the page of the walk: $(ls -t "$EXPERIMENT/results/$GAN-8/"*/index.html | head -1)"
