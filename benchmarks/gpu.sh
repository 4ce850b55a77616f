#!/usr/bin/env bash
# Train on a machine with one GPU, Python 3.12, JAX and no network: two networks, then one that learns from their mean.
#
# Here:  python -m benchmarks.mosaics pack fer2013.zip SENT/faces
#        pip install --target SENT/site keras==3.15.1 optree namex pydantic-settings ImageHash, for Python 3.12
# There: benchmarks/gpu.sh SENT OUT [EPOCHS_PLAIN EPOCHS_WIDER EPOCHS_STUDENT]
#
# OUT gets the log, all scores and the student's classifier as they come. Each stage has LIMIT seconds (265); what is not
# done by then ends with its best epoch. An H100 took 512 s in all with the numbers that stand here.
set -u
sent=$1 out=$2 plain=${3:-190} wider=${4:-105} student=${5:-110}
work=${WORK:-$(mktemp -d)}
mkdir -p "$work" "$out"
export PYTHONPATH=$sent/site:$PWD PYTHONUNBUFFERED=1 KERAS_BACKEND=jax XLA_PYTHON_CLIENT_PREALLOCATE=false
export JAX_COMPILATION_CACHE_DIR=$work/compiled
run=(${RUN:-python3 run.py})

phases() { # EPOCHS RATE
	echo "[{name: everything, trainable: [all], epochs: $1, learning_rate: $2, schedule: cosine, warmup_epochs: 3, patience: 1000}]"
}

train() { # NAME ARGUMENTS...
	local name=$1
	shift
	timeout -s INT -k 15 "${LIMIT:-265}" "${run[@]}" --bare "$work/$name" --dataset.path "$work/fer2013.zip" \
		--training.precision "${PRECISION:-bfloat16}" --training.ema_momentum 0.999 ${DATA:-} "$@" 2>&1 |
		sed -u "s/^/$name: /" >>"$out/log"
	cp "$work/$name/scores.json" "$out/$name.json" 2>/dev/null || echo "$name: no scores" >>"$out/log"
}

strong=(--augmentation.flip true --augmentation.rotation_degrees 10 --augmentation.random_crop true
	--augmentation.zoom 0.15 --augmentation.erasing 0.5 --augmentation.mixup 0.2)
python3 -m benchmarks.mosaics unpack "$sent/faces" "$work/fer2013.zip" | tee -a "$out/log"

train plain --config configs/gpu.yaml --classifier.weights none --classifier.dense_units "[]" --classifier.dropout 0.5 \
	--augmentation.erasing 0 --augmentation.mixup 0 --training.phases "$(phases "$plain" 0.01)" &
train wider --config configs/compact.yaml "${strong[@]}" --classifier.width "${WIDER:-1.4}" --classifier.dropout 0.4 \
	--training.phases "$(phases "$wider" 0.05)" &
wait

teachers=$(ls "$work"/*/classifier.keras "$sent"/*.keras 2>/dev/null | grep -v "^$work/student/" | paste -sd,)
echo "teachers: $teachers" | tee -a "$out/log"
train student --config configs/compact.yaml "${strong[@]}" --training.distillation.teacher "[$teachers]" \
	--training.distillation.weight 0.9 --training.distillation.temperature 3 \
	--training.phases "$(phases "$student" 0.05)"
cp "$work/student/classifier.keras" "$out/student.keras"
grep "student: .*accuracy" "$out/log" | tail -4
