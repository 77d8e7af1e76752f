"""A corpus in its run folder."""

from evokd.data.store import load_corpus, save_corpus
from test_corpus import build, folder, unpaired

__all__ = ["folder"]


def test_a_corpus_survives_its_folder(folder, tmp_path):
    corpus = build(folder, unpaired=[unpaired(folder, ["New one.", "Newer one."])])
    save_corpus(corpus, tmp_path / "saved")
    assert load_corpus(tmp_path / "saved") == corpus
    (tmp_path / "saved/unpaired.jsonl").unlink()  # as corpora were before
    assert load_corpus(tmp_path / "saved").unpaired == []
    plain = build(folder)
    save_corpus(plain, tmp_path / "plain")
    assert not (tmp_path / "plain/unpaired.jsonl").exists()
    assert load_corpus(tmp_path / "plain") == plain
