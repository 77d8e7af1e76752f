"""Tiny models with random weights in the format of COMET's library, and one in Marian's.

    python tests/neural_models.py FOLDER

Runs in the Python that has the library, and has that judge `SEGMENTS`: what it says is printed.
"""

import json
import os
import sys
from pathlib import Path

WORDS = [
    *["the", "cat", "sat", "on", "mat", "Hello", "world"],
    *["der", "Hund", "läuft", "schnell", "ein", "zwei", "drei"],
]
WORDS += ["vier", "und"]
TEXTS = [" ".join(WORDS[k % 16] for k in range(n, n * n % 37 + n + 2)) for n in range(60)]
SEGMENTS = [
    {"src": TEXTS[n], "mt": TEXTS[(7 * n) % 60], "ref": TEXTS[(11 * n + 3) % 60]} for n in range(40)
]
SEGMENTS += [{"src": "the cat", "mt": "", "ref": "ein Hund"}, SEGMENTS[5]]


def comet(folder):
    """A model of each class that the metrics are of, and what the library itself says by it; the
    first in Marian's format, too."""
    import pytorch_lightning
    import sentencepiece
    import torch
    import yaml
    from comet import load_from_checkpoint
    from comet.models import RegressionMetric, UnifiedMetric, XCOMETMetric
    from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

    encoder = folder / "encoder"
    encoder.mkdir(parents=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(encoder / "sentencepiece.bpe"),
        vocab_size=60,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
    )
    vocabulary = encoder / "sentencepiece.bpe.model"
    tokenizer = XLMRobertaTokenizerFast(str(vocabulary))
    tokenizer.save_pretrained(encoder)
    XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=520,
        layer_norm_eps=1e-5,
        type_vocab_size=1,
    ).save_pretrained(encoder)
    shared = {"pretrained_model": str(encoder.absolute()), "load_pretrained_weights": False}
    shared |= {"hidden_sizes": [24, 12], "encoder_model": "XLM-RoBERTa"}
    unified = {"layer_transformation": "sparsemax", "word_layer": 1, "word_level_training": True}
    found = {}
    for name, (kind, settings, fields) in {
        "comet": (RegressionMetric, {}, ("src", "mt", "ref")),
        "cometkiwi": (UnifiedMetric, {"input_segments": ["mt", "src"], **unified}, ("src", "mt")),
        "xcomet": (XCOMETMetric, unified | {"loss_lambda": 0.1}, ("src", "mt", "ref")),
    }.items():
        torch.manual_seed(1)
        if name == "cometkiwi":
            settings = settings | {"word_level_training": False}
        model = kind(**shared, **settings)
        for weights in model.parameters():
            weights.data *= 1 if weights.dim() == 1 else 6  # so that segments differ
        model.encoder.model.embeddings.token_type_embeddings.weight.data.zero_()  # as XLM-R's
        pl_trainer = pytorch_lightning.Trainer(
            logger=False, accelerator="cpu", enable_checkpointing=False
        )
        pl_trainer.strategy.connect(model)
        checkpoint = folder / name / "checkpoints" / "model.ckpt"
        checkpoint.parent.mkdir(parents=True)
        pl_trainer.save_checkpoint(checkpoint)
        (folder / name / "hparams.yaml").write_text(yaml.safe_dump(dict(model.hparams)))
        rows = [{key: row[key] for key in fields} for row in SEGMENTS]
        loaded = load_from_checkpoint(str(checkpoint))
        found[name] = loaded.predict(rows, batch_size=1, gpus=0, progress_bar=False).scores
        if name == "comet":
            as_marian(loaded, folder / "marian" / "comet.npz")
            (folder / "marian" / "vocab.spm").write_bytes(vocabulary.read_bytes())
    return found


def as_marian(model, path):
    """The weights of a `RegressionMetric` in Marian's format, and its vocabulary beside them: ids
    are those of SentencePiece, which has no mask and no padding."""
    import numpy as np
    import yaml

    given = {name: one.detach().numpy() for name, one in model.named_parameters()}
    encoder, made = "CometEncoder->encoder", {}

    def linear(name, source):
        made[f"{name}->weight"] = given[f"{source}.weight"].T.copy()
        made[f"{name}->bias"] = given[f"{source}.bias"].copy()

    def norm(name, source):
        made[f"{name}->norm->weight"] = given[f"{source}.weight"].copy()
        made[f"{name}->norm->bias"] = given[f"{source}.bias"].copy()

    words = given["encoder.model.embeddings.word_embeddings.weight"]
    made["Wemb"] = words[1:-1].copy()
    made["Wemb"][[0, 2]] = words[[0, 2]]  # <s>, which is put in front, and </s>
    positions = given["encoder.model.embeddings.position_embeddings.weight"]
    made[f"{encoder}->positionEmbedding->embeddings"] = positions[2:].copy()
    norm(f"{encoder}->preprocessor", "encoder.model.embeddings.LayerNorm")
    for n in range(2):
        theirs = f"encoder.model.encoder.layer.{n}"
        layer = f"{encoder}->layers->at({n})->as<marian::nn::TransformerEncoderLayer>()"
        attention = f"{layer}->selfAttentionBlock"
        for ours, part in (("qProj", "query"), ("kProj", "key"), ("vProj", "value")):
            linear(f"{attention}->selfAttention->{ours}", f"{theirs}.attention.self.{part}")
        linear(f"{attention}->selfAttention->oProj", f"{theirs}.attention.output.dense")
        norm(f"{attention}->postprocessor", f"{theirs}.attention.output.LayerNorm")
        block = f"{layer}->filterBlock"
        linear(f"{block}->layers->at(0)->as<marian::nn::Linear>()", f"{theirs}.intermediate.dense")
        linear(f"{block}->layers->at(3)->as<marian::nn::Linear>()", f"{theirs}.output.dense")
        norm(f"{block}->postprocessor", f"{theirs}.output.LayerNorm")
    mix = [given[f"layerwise_attention.scalar_parameters.{n}"] for n in range(3)]
    made[f"{encoder}->weights"] = np.concatenate(mix)
    made[f"{encoder}->gamma"] = given["layerwise_attention.gamma"]
    for n in (0, 3, 6):
        linear(f"CometQEPooler->layers->at({n})->as<marian::nn::Linear>()", f"estimator.ff.{n}")
    config = {
        **{"type": "comet", "tied-embeddings-all": True, "tied-embeddings-src": False},
        **{"dim-emb": words.shape[1], "dim-vocabs": [len(made["Wemb"])] * 3, "enc-depth": 2},
        **{"transformer-heads": 2, "transformer-dim-ffn": 32, "transformer-ffn-depth": 2},
        **{"transformer-ffn-activation": "gelu", "transformer-train-position-embeddings": True},
        **{"transformer-preprocess": "", "transformer-postprocess": "dan"},
        **{"transformer-postprocess-emb": "nd", "max-length": len(positions) - 2},
        **{"bert-train-type-embeddings": False, "bert-type-vocab-size": 0},
        **{"comet-prepend-zero": True, "comet-pool": "avg", "comet-mix": True},
        **{"comet-mix-norm": model.hparams.layer_norm, "comet-mix-transformation": "softmax"},
        **{"comet-final-sigmoid": False, "comet-pooler-ffn": [24, 12], "version": "test"},
    }
    text = np.frombuffer((yaml.safe_dump(config) + "\0").encode(), dtype=np.int8)
    path.parent.mkdir()
    np.savez(path, **made, **{"special:model.yml": text})


if __name__ == "__main__":
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(comet(Path(sys.argv[1]))), file=out, flush=True)
