"""A study's student cut from its teacher: what is cut, on which text, and what is kept of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evokd.models.loading import Translator, load_translator
from evokd.study.context import Study


def cut_from_teacher(study: Study, max_length: int) -> tuple[Translator, list[int] | None]:
    """The student as it starts, and which of the teacher's tokens it knows (None: all).

    Raises:
        InputError: the recipe's `student.cut` doesn't fit the teacher.
    """
    import torch

    from evokd.models.encoding import pad_id_of
    from evokd.models.structured_pruning import calibration_batches, cut, describe_cut
    from evokd.models.vocabulary_pruning import slice_vocabulary, used_ids

    settings = study.recipe.student.cut
    teacher = load_translator(
        study.folder / "teacher/model", study.device, torch.float32, study.prompt
    )
    data = study.encoded("reference", teacher.tokenizer, max_length)
    batches = calibration_batches(data, pad_id_of(teacher.tokenizer), settings.calibration_pairs)
    on_device = [{k: v.to(study.device) for k, v in batch.items()} for batch in batches]
    model, words, kept = cut(teacher.model, settings, on_device), teacher.tokenizer, None
    if settings.vocabulary == "corpus":
        corpus = study.corpus
        # Not the test sets: what a student is judged on has no say in what it is.
        pairs = [*corpus.train, *corpus.valid]
        texts = dict.fromkeys(text for pair in pairs for text in (pair.source, pair.target))
        texts |= dict.fromkeys(pair.source for pair in corpus.unpaired)
        encoded = (data[number]["input_ids"] for number in range(len(data)))
        embeddings: Any = model.get_input_embeddings()
        kept = used_ids(words, texts, encoded, int(embeddings.weight.shape[0]))
        model, words = slice_vocabulary(model, words, kept)
    for line in describe_cut(teacher.model, model).splitlines():
        study.note(f"start: {line.strip()}")
    return Translator(model, words, study.prompt), kept


def keep_ids(kept: list[int] | None, folder: Path, study: Study) -> None:
    """Write down beside a cut model which of its teacher's tokens it knows."""
    from evokd.models.loading import load_tokenizer
    from evokd.models.vocabulary_pruning import save_kept_ids
    from evokd.recipe.models import ModelSettings

    if kept is not None:
        teacher: Any = load_tokenizer(ModelSettings(model=str(study.folder / "teacher/model")))
        save_kept_ids(folder, kept, teacher)
