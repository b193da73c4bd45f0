# The settings of the paper's experiments. scripts/train/*.sh and scripts/eval/*.sh source this file with
# "<gan> <corpus> <loss>", and call train_paths or walk_paths with further flags.
set -euo pipefail
gan=$1 corpus=$2 loss=$3
case $gan in
  stylegan2_*) space=W+11 truncation=0.7 steps=100 space_flags="--stylegan-space=W+ --stylegan-layer=11" ;;
  pggan_*) space=Z truncation=1.0 steps=60 space_flags="" ;;
esac
case $loss in
  contrastive) loss_name=contrastive_0.07 loss_flags="--loss=contrastive --temperature=0.07" ;;
  cossim) loss_name=cossim loss_flags="--loss=cossim" ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."

train_paths() {
  dipoles=$(grep -c '\["' "lib/corpora/$corpus.json") # so that a batch has every path once
  # shellcheck disable=SC2086
  "${PYTHON:-python}" train.py --gan="$gan" $space_flags --truncation=$truncation --corpus="$corpus" $loss_flags \
    --num-latent-support-dipoles=64 --lss-beta=0.5 --css-beta=0.5 --min-shift-magnitude=0.1 --max-shift-magnitude=0.2 \
    --lr=1e-4 --batch-size="$dipoles" --max-iter=20000 "$@"
}

walk_paths() {
  experiment=$(echo experiments/complete/ContraCLIP_"$gan-$space"-K*-D64-eps0.1_0.2-nonlinear_beta-0.5-"$loss_name-$corpus")
  "${PYTHON:-python}" sample_gan.py --gan="$gan" --truncation=$truncation --num-samples=4
  "${PYTHON:-python}" traverse_latent_space.py --exp="$experiment" --pool="$gan-4" --eps=0.15 --shift-steps=$steps \
    --shift-leap=4 "$@"
}
