"""llama.cpp reads what evokd writes: tokens, logits, greedy answers, k-quants."""

import contextlib
import io
import json
import re

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import GemmaTokenizer, LlamaConfig, LlamaTokenizer

import evokd as evokd_package
from evokd.data.phrasebook import phrasebook
from evokd.data.prompts import load_prompt
from evokd.errors import InputError
from evokd.export.exported import export, load_export
from evokd.export.gguf_format import dense
from evokd.models.encoding import encode_prompts, token_ids
from evokd.models.loading import Translator
from evokd.recipe.exports import K_QUANTS
from evokd.recipe.judging import DecodingSettings
from evokd.translate.decoding import translate
from evokd.translate.engines.engine import generate_by
from test_export import CPU, LINES, MODELS, SHAPE, TOKENIZER, translator

SETTINGS = DecodingSettings(extra_tokens=8)
llama_cpp = pytest.importorskip("llama_cpp")
HARD = [
    *(
        "12 345,67 men's can't I'LL we'd",
        "  two  spaces\tand tab ",
        "é 🙂 日本語 汉字 žluťoučký kůň",
    ),
    *('„Anführung“ "quoted"', "a\nb\n\n c", "don’t ʼn ﬁ ½ ² ١٢٣ ４５", "İstanbul ı e\u0301", "   "),
]


def opened(folder, **more):
    """llama.cpp, computing in float32 all through."""
    return llama_cpp.Llama(
        str(folder / "model.gguf"), n_ctx=0, n_threads=1, verbose=False, type_k=0, type_v=0, **more
    )


@pytest.mark.parametrize("name", MODELS)
def test_llama_cpp_computes_the_same_logits(name, tmp_path):
    made = translator(MODELS[name])
    export(made, tmp_path / "x", "gguf")
    ids = list(range(3, 60))
    with contextlib.closing(opened(tmp_path / "x", logits_all=True)) as model:
        model.eval(ids)
        theirs = np.array(model.scores[: len(ids)])
    with torch.no_grad():
        ours = made.model(torch.tensor([ids])).logits[0].numpy()
    # Its GELU is a table of halves.
    close = 1e-3 if "gemma" in name else 1e-5
    assert np.abs(ours - theirs).max() < close * np.abs(ours).max()


def test_llama_cpp_cuts_text_into_the_same_tokens_and_answers_the_same(tmp_path):
    made = translator(MODELS["llama"])
    export(made, tmp_path / "x", "gguf", "none", ["de-en"])
    with contextlib.closing(opened(tmp_path / "x")) as model:
        for text in (*LINES, *HARD):
            ours = list(token_ids(TOKENIZER, [text], literal=True)[0])
            assert model.tokenize(text.encode(), add_bos=False, special=False) == ours, text
        for ids in encode_prompts(TOKENIZER, made.prompt, LINES, "de", "en"):
            text = TOKENIZER.decode(ids)
            assert model.tokenize(text.encode(), add_bos=False, special=True) == list(ids), text
    with evokd_package.Translator.load(tmp_path / "x", device="cpu") as again:
        long = [*LINES, "zwölf Männer " * 9]  # more than the room it begins with holds
        assert again.translate(long, "de", "en") == translate(made, long, "de", "en").lines
        with pytest.raises(InputError, match="greedily"):
            again.translate(LINES, "de", "en", beam=2)
    card = (tmp_path / "x/README.md").read_text("utf-8").replace("FOLDER", str(tmp_path / "x"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        exec(re.search(r"```python\n(.*?)```", card, re.S)[1], {})
    assert said.getvalue().strip()


def sentencepiece(kind):
    """A tokenizer as transformers makes it of a SentencePiece BPE: bytes, then pieces in the order
    in which they were found, and each way to make one of two others."""
    backend = Tokenizer(BPE())
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    texts = [*LINES, *HARD[:4], *phrases()] * 3
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False)
    backend.train_from_iterator(texts, trainer)
    pieces = sorted(backend.get_vocab(), key=backend.get_vocab().get)
    own = ["<unk>", "<s>", "</s>", "<en>", "<de>", *(f"<0x{n:02X}>" for n in range(256))]
    known = {token: n for n, token in enumerate([*own, *pieces])}
    merges = [
        (piece[:i], piece[i:])
        for piece in pieces
        for i in range(1, len(piece))
        if piece[:i] in known and piece[i:] in known
    ]
    made = kind(vocab=known, merges=merges, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    made.add_special_tokens({"additional_special_tokens": ["<en>", "<de>"]})
    if kind is GemmaTokenizer:  # behind an added token llama.cpp puts a space, as in front of all
        made.add_tokens(["\n\n"])
    return made


def phrases():
    return [one[code] for one in phrasebook("train", 200) for code in ("en", "de")]


@pytest.mark.parametrize("kind", [LlamaTokenizer, GemmaTokenizer])
def test_sentencepiece_is_cut_into_the_same_tokens(kind, tmp_path):
    tokenizer = sentencepiece(kind)
    config = LlamaConfig(**SHAPE | {"vocab_size": len(tokenizer) + 1})
    made = Translator(translator(config).model, tokenizer, load_prompt("compact"))
    export(made, tmp_path / "x", "gguf", "none", ["de-en"])
    texts = [text for text in (*LINES, *HARD, *phrases()) if text[:1].strip()]
    with contextlib.closing(opened(tmp_path / "x")) as model:
        for text in texts:
            ours = tokenizer(text, add_special_tokens=False)["input_ids"]
            assert model.tokenize(text.encode(), add_bos=False, special=False) == ours, text
    with load_export(tmp_path / "x", CPU).at_work() as engine:
        generate = generate_by(engine, SETTINGS)
        theirs = translate(made, texts[:40], "de", "en", SETTINGS, None, generate)
    assert theirs.lines == translate(made, texts[:40], "de", "en", SETTINGS).lines


def test_merges_that_llama_cpp_would_not_follow_are_refused(tmp_path):
    tokenizer = sentencepiece(LlamaTokenizer)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][::2]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(state))
    config = LlamaConfig(**SHAPE | {"vocab_size": len(tokenizer)})
    made = Translator(translator(config).model, tokenizer, load_prompt("compact"))
    with pytest.raises(InputError, match="merges"):
        export(made, tmp_path / "x", "gguf")


@pytest.mark.parametrize("quantization", K_QUANTS)
def test_k_quants_are_as_close_as_their_bits(quantization, tmp_path):
    """Rows of 256, which k-quants want, and of less, which llama.cpp gives another kind."""
    import gguf

    for width, wanted in ((256, quantization[:4].upper()), (64, None)):
        made = translator(LlamaConfig(**SHAPE | {"hidden_size": width, "intermediate_size": 512}))
        facts = export(made, tmp_path / "x", "gguf", quantization)
        assert "llama-cpp-python" in facts["tool"]
        reader = gguf.GGUFReader(tmp_path / "x/model.gguf")
        kinds = {one.tensor_type.name for one in reader.tensors}
        assert (wanted in kinds) if wanted else not {k for k in kinds if k == wanted}
        ids = torch.arange(3, 30)[None]
        with torch.no_grad():
            ours = made.model(ids).logits
            theirs = dense(tmp_path / "x", CPU)(ids).logits
        assert (ours - theirs).norm() < 2.0 ** (1 - int(quantization[1])) * 4 * ours.norm()
        assert [path.name for path in (tmp_path / "x").glob("model*")] == ["model.gguf"]
