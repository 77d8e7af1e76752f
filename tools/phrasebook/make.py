"""Draw the phrasebook from its grammar and write the file that the package ships.

python tools/phrasebook/make.py
"""

from __future__ import annotations

import lzma
from pathlib import Path

from drawing import phrasebook

FILE = Path(__file__).resolve().parents[2] / "src/evokd/data/phrasebook.tsv.xz"
SEED, SIZES = 1, {"train": 20_000, "valid": 500, "test": 1_000}


def lines() -> bytes:
    """A sentence a line: its split, English, German, Czech."""
    rows = [
        f"{split}\t{one.english}\t{one.german}\t{one.czech}\n"
        for split, triples in phrasebook(SEED, **SIZES).items()
        for one in triples
    ]
    return "".join(rows).encode()


if __name__ == "__main__":
    FILE.write_bytes(lzma.compress(lines(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{FILE}: {FILE.stat().st_size >> 10} KiB")
