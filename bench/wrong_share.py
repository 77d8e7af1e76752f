"""How well a teacher tells how many training pairs are wrong: estimates beside what was put in.

    python bench/wrong_share.py MODEL data/train --valid data/valid -l en-de de-en --prompt compact

Some of the pairs get another pair's target, and the share of these is estimated as the check before
training does it: with validation pairs that are right, and with what the teacher itself expects.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
from torch import Tensor

from evokd.data.noise import add_noise
from evokd.data.pairs import Pair
from evokd.data.prompts import load_prompt
from evokd.data.sources import read_source
from evokd.distil.surprisal import reference_surprisal, wrong_share
from evokd.distil.teacher.signal import LiveTeacher
from evokd.models.encoded import encode_corpus
from evokd.models.loading import load_translator, pick_device
from evokd.recipe.corpus import CorpusSource, NoiseSettings
from evokd.report.formatting import percent

SHARES = (0.0, 0.1, 0.3, 0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("train")
    parser.add_argument("--valid", required=True)
    parser.add_argument("-l", "--directions", nargs="+", default=["en-de", "de-en"])
    parser.add_argument("--prompt", default="compact")
    parser.add_argument("--kind", default="misaligned")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--limit", type=int, default=600)
    args = parser.parse_args()
    device, _ = pick_device("auto")
    teacher = load_translator(args.model, device, torch.float32, load_prompt(args.prompt))
    signal = LiveTeacher(teacher.model)

    def read(path: str, limit: int, skip: int = 0) -> list[Pair]:
        source = CorpusSource(path=path, limit=limit, skip=skip)
        return read_source(source, args.directions, Path())[0]

    def excess(pairs: list[Pair]) -> tuple[Tensor, Tensor]:
        """Of each pair the mean of −ln p(y) − H(p), and its expected standard deviation."""
        data, _ = encode_corpus(pairs, teacher.tokenizer, teacher.prompt)
        each = reference_surprisal(signal, data, signal.width, device)
        means = [float((one[:, 0] - one[:, 1]).mean()) for one in each]
        spreads = [float(one[:, 2].sum().sqrt()) / len(one) for one in each]
        return torch.tensor(means, dtype=torch.float64), torch.tensor(spreads)

    pairs = read(args.train, args.limit, args.skip)
    shuffled, _ = add_noise(pairs, [NoiseSettings(kind="misaligned", share=1, seed=77)])
    wrong, right = excess(shuffled)[0], excess(read(args.valid, 300))[0]
    chance = random.Random(1)
    print("| share | with validation pairs | without | dropped | of these wrong | of the wrong |")
    print("|---|---|---|---|---|---|")
    for share in SHARES:
        noisy, record = add_noise(pairs, [NoiseSettings(kind=args.kind, share=share)])
        known = {(one.origin, one.direction) for one in record}
        is_wrong = torch.tensor([(pair.origin, pair.direction) in known for pair in noisy])
        values, spreads = excess(noisy)
        expected = torch.tensor([float(one) * chance.gauss(0, 1) for one in spreads])
        estimate = wrong_share(values, wrong, right)
        dropped = values > estimate.threshold
        hits = float((dropped & is_wrong).sum())
        cells = [
            f"{share:.0%}",
            *(percent(one.share) for one in (estimate, wrong_share(values, wrong, expected))),
            f"{float(dropped.double().mean()):.1%}",
            f"{hits / max(1, int(dropped.sum())):.0%}",
            f"{hits / max(1, int(is_wrong.sum())):.0%}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
