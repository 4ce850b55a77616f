#!/usr/bin/env bash
# Train on a machine with one GPU, Python 3.12, JAX and no network: two large networks, then one that learns from them.
#
# Here:  python -m benchmarks.mosaics pack fer2013.zip SENT/faces
#        python -m benchmarks.round_weights A.keras SENT/a.keras.xz      (for each teacher that is there already)
#        pip install --target SITE keras==3.15.1 optree namex pydantic-settings ImageHash, for Python 3.12;
#        tar -C SITE -cJf SENT/site.tar.xz .
# There: benchmarks/gpu.sh SENT OUT [MINUTES [EPOCHS_VGG19 EPOCHS_WIDE EPOCHS_STUDENT]]
#
# OUT gets the log, all scores, the large networks' rounded classifiers and the student's as they come. All of it ends
# within MINUTES (9), of which the large networks have a little less than half. Each training plans its epochs by what it
# measures there, or has those that are given.
set -u
sent=$1 out=$2 minutes=${3:-9} vgg19=${4:-0} wide=${5:-0} student=${6:-0}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work/site" "$work/teachers" "$out"
export PYTHONPATH=$work/site:$PWD PYTHONUNBUFFERED=1 KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false
export JAX_COMPILATION_CACHE_DIR=$work/compiled
run=(${RUN:-python3 run.py})
strong="--augmentation.flip true --augmentation.rotation_degrees 10 --augmentation.random_crop true
	--augmentation.zoom 0.15 --augmentation.erasing 0.5 --augmentation.mixup 0.2"

say() { echo "[$SECONDS s] $*" | tee -a "$out/log"; }

phase() { # EPOCHS RATE
	echo "[{name: everything, trainable: [all], epochs: $1, learning_rate: $2, schedule: cosine, warmup_epochs: 3, patience: 1000}]"
}

teachers() { # FOLDERS..., as a setting
	local found
	found=$(find "$@" -name '*.keras' 2>/dev/null | sort | paste -sd,)
	echo "[${found:-none}]"
}

train() { # NAME SECONDS EPOCHS RATE TEACHERS WEIGHT ARGUMENTS...: with 0 epochs, those that fit into the seconds
	local name=$1 seconds=$2 epochs=$3 rate=$4 teachers=$5 weight=$6 within=()
	shift 6
	rm -rf "${work:?}/$name"
	if [ "$epochs" = 0 ]; then
		epochs=100 within=(--training.minutes "$(awk "BEGIN {print $seconds / 60}")")
	fi
	timeout -s INT -k 15 $((seconds + 20)) "${run[@]}" --bare "$work/$name" --dataset.path "$work/fer2013.zip" \
		--training.precision "${PRECISION:-bfloat16}" --training.batch_size "${BATCH:-256}" --training.ema_momentum 0.999 \
		--training.distillation.teacher "$teachers" --training.distillation.weight "$weight" \
		--training.distillation.every_view true --training.distillation.temperature 2 \
		--training.phases "$(phase "$epochs" "$rate")" "${within[@]}" $strong "$@" 2>&1 |
		sed -u "s/^/$name: /" >>"$out/log"
	cp "$work/$name/scores.json" "$out/$name.json" 2>/dev/null || say "$name: no scores"
	say "$name ended"
}

tar -C "$work/site" -xJf "$sent/site.tar.xz"
for file in "$sent"/*.keras.xz; do
	[ -e "$file" ] && python3 -m benchmarks.round_weights "$file" "$work/teachers/$(basename "${file%.xz}")" &
done
[ -e "$work/fer2013.zip" ] || python3 -m benchmarks.mosaics unpack "$sent/faces" "$work/fer2013.zip"
wait
given=$(teachers "$work/teachers")
say "teachers of the large networks: $given"

half=$((minutes * 60 * 45 / 100 - SECONDS))
train vgg19 $half "$vgg19" 0.03 "$given" 0.5 --config configs/gpu.yaml --classifier.weights none \
	--classifier.width "${VGG:-1}" &
train wide $half "$wide" 0.1 "$given" 0.5 --config configs/compact.yaml --classifier.width "${WIDE:-2}" \
	--classifier.dropout 0.4 &
wait

all=$(teachers "$work/teachers" "$work/vgg19" "$work/wide")
say "teachers of the student: $all"
for name in vgg19 wide; do
	python3 -m benchmarks.round_weights "$work/$name/classifier.keras" "$out/$name.keras.xz" >>"$out/log" 2>&1 &
done
train student $((minutes * 60 - SECONDS - 20)) "$student" 0.1 "$all" 0.9 --config configs/compact.yaml \
	--classifier.width "${STUDENT:-1.25}"
cp "$work/student/classifier.keras" "$out/student.keras"
wait
grep -E "(vgg19|wide|student): .*accuracy .*to" "$out/log"
