"""Names of what a run's folder holds; `dansm.training.trainer` says when."""

MODEL = "model.safetensors"
RUN = "run.json"
STATS = "stats.jsonl"
SNAPSHOTS = "snapshots"
TRAINING = "training"
STATE = "state.pt"
