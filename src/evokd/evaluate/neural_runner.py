"""What runs in the environment of a neural metric; evokd starts it and never imports it.

    python neural_runner.py comet|metricx|marian MODEL < segments.jsonl > scores.jsonl

In: {"src", "mt", "ref"} a line, those that the metric needs, sorted by length. Out: {"facts"},
which say what judges, and {"score"} a line, in the same order, as each batch is done.

    python neural_runner.py fetch comet|metricx|marian ID

prints {"model": path}, after fetching it from the hub.
"""

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path

MOST = 64
"""Segments in a batch, at most."""
ROOM = 16_000
"""Characters in a batch, those of its longest segment counted for each."""
MT5 = "google/mt5-xl"
"""Has MetricX's tokenizer, where the model's folder has none."""
SCORE_TOKEN = 250_089
"""<extra_id_10> of mT5."""
LONGEST = 1536
"""Tokens that MetricX-24 was trained with."""


def batches(rows):
    batch: list[dict[str, str]] = []
    for row in rows:
        longest = sum(len(text) for text in (batch or [row])[0].values())
        if batch and (len(batch) == MOST or (len(batch) + 1) * longest > ROOM):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def comet(path, fields):
    """Every kind of COMET model, by the library's own code."""
    import comet
    import torch

    checkpoint = Path(path) / "checkpoints" / "model.ckpt"
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = comet.load_from_checkpoint(str(checkpoint)).to(device).eval()

    def scores(rows):
        batch = model.prepare_for_inference(rows)
        with torch.inference_mode():
            found = model.predict_step(
                model.transfer_batch_to_device(batch, torch.device(device), 0)
            )
        return found["scores"].reshape(-1).tolist()

    return scores


def metricx(path, fields):
    """MetricX-24 (Juraska et al. 2024): mT5 whose first answer, at one token, is the error score,
    clipped to 0–25; the input has no end-of-sentence token."""
    import torch
    from transformers import AutoTokenizer, MT5ForConditionalGeneration

    device = "cuda" if torch.cuda.is_available() else "cpu"
    own = any((Path(path) / name).exists() for name in ("spiece.model", "tokenizer.json"))
    tokenizer = AutoTokenizer.from_pretrained(path if own else MT5)
    model = MT5ForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    model.to(torch.device(device))

    def scores(rows):
        texts = [
            f"source: {row['src']} candidate: {row['mt']} reference: {row['ref']}" for row in rows
        ]
        ids = [
            tokenizer(text, truncation=True, max_length=LONGEST).input_ids[:-1] for text in texts
        ]
        padded = tokenizer.pad({"input_ids": ids}, return_tensors="pt").to(device)
        start = torch.zeros(len(rows), 1, dtype=torch.long, device=device)
        with torch.inference_mode():
            logits = model(**padded, decoder_input_ids=start).logits
        return logits[:, 0, SCORE_TOKEN].clamp(0, 25).tolist()

    return scores


def marian(path, fields):
    """Marian's reimplementation of COMET, a segment at a time on one thread of the CPU: in batches
    its scores depend on the padding (1.12.42), and with more threads it dies now and then of
    `free(): invalid pointer`. It leaves out lines that have an empty field."""
    from pymarian import Evaluator

    order = [name for name in ("src", "mt", "ref") if name in fields]
    evaluator = Evaluator.new(
        model_file=next(Path(path).glob("model.*")),
        vocab_file=Path(path) / "vocab.spm",
        like="comet" if "ref" in order else "comet-qe",
        quiet="",
        cpu_threads=1,
        mini_batch=1,
    )

    def scores(rows):
        lines = ["\t".join(" ".join(row[name].split()) or " " for name in order) for row in rows]
        return list(evaluator.evaluate(iter(lines)))

    return scores


KINDS = {
    "comet": (comet, "Comet", "unbabel-comet"),
    "metricx": (metricx, "transformers", "transformers"),
    "marian": (marian, "pymarian", "pymarian"),
}


def fetch(kind, name):
    if kind == "marian":
        from pymarian.utils import get_model_path, get_vocab_path

        return {"model": str(get_model_path(name)), "vocab": str(get_vocab_path(name))}
    from huggingface_hub import snapshot_download

    return {"model": snapshot_download(name)}


def main(kind, path):
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # libraries print what they like
    if kind == "fetch":
        print(json.dumps(fetch(path, sys.argv[3])), file=out, flush=True)
        return
    load, label, package = KINDS[kind]
    rows = [
        json.loads(line) for line in sys.stdin.buffer.read().decode("ascii").split("\n") if line
    ]
    score = load(path, rows[0].keys())
    facts = f"Python{platform.python_version()}|{label}{metadata.version(package)}|fp32"
    print(json.dumps({"facts": facts}), file=out, flush=True)
    for batch in batches(rows):
        for found in score(batch):
            print(json.dumps({"score": found}), file=out)
        out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:3])
