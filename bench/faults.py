"""What a run survives: kills, full disks, clocks, damaged files, broken recipes and corpora.

    python bench/faults.py --kills 100 --recipes 1000 --corpora 1000 --seed 1 --json faults.json

Each fault is tried as often as it says, in children of one process that has everything imported.
A run that was disturbed has to end as one that wasn't, byte for byte; bad input has to be read or
refused with exit code 2, without a traceback, in bounded time and memory. What failed is listed
with the seed and the number that bring it about again. Linux; disks are mounted in memory where
this process may do so.
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bad_disks import try_clocks, try_damage, try_full_disks, try_read_only, try_two_at_once
from broken_files import try_corpora
from kills import reference_run, try_kills
from measuring import table, write_json
from recipe_mutants import try_recipes
from tiny_study import SMALLER, TREE
from trials import Tally, warm_up


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--disks", type=int, default=10)
    parser.add_argument("--clocks", type=int, default=6, help="of clocks set wrong, at most 6")
    parser.add_argument("--folders", type=int, default=3, help="read only or in use, at most 3")
    parser.add_argument("--files", type=int, default=1000, help="of a finished run, to be damaged")
    parser.add_argument("--recipes", type=int, default=1000)
    parser.add_argument("--corpora", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--smaller", action="store_true", help="a study of two students")
    parser.add_argument("--json", metavar="FILE")
    args = parser.parse_args()
    warm_up()
    with tempfile.TemporaryDirectory(prefix="evokd-faults-") as name:
        tallies = _tallies(args, Path(name))
    print(f"\n{datetime.date.today()}, seed {args.seed}\n")
    rows = [(one.fault, one.tried, one.survived) for one in tallies]
    print(table(("fault", "tried", "survived"), rows), end="\n\n")
    for one in tallies:
        print("".join(f"{one.fault}: {note}\n" for note in one.notes), end="")
        print("".join(f"FAILED: {failure}\n" for failure in one.failures), end="")
    if args.json:
        write_json(args.json, {"seed": args.seed, "faults": [vars(one) for one in tallies]})
    return int(any(one.failures for one in tallies))


def _tallies(args: argparse.Namespace, folder: Path) -> list[Tally]:
    """One fault after the other, each in a folder of its own."""
    recipe, reference, seconds = reference_run(folder, SMALLER if args.smaller else TREE)
    seed = args.seed
    faults: dict[str, Callable[[Path], Tally]] = {
        "kills": lambda own: try_kills(args.kills, seed, recipe, reference, seconds, own),
        "disks": lambda own: try_full_disks(args.disks, seed, recipe, reference, own),
        "read only": lambda own: try_read_only(args.folders, recipe, reference, own),
        "clocks": lambda own: try_clocks(args.clocks, recipe, reference, seconds, own),
        "two runs": lambda own: try_two_at_once(args.folders, recipe, reference, own),
        "damage": lambda own: try_damage(args.files, seed, reference, own),
        "recipes": lambda own: try_recipes(args.recipes, seed, reference, own),
        "corpora": lambda own: try_corpora(args.corpora, seed, own),
    }
    tallies = []
    for number, (name, attempt) in enumerate(faults.items()):
        own = folder / str(number)
        own.mkdir()
        began = time.perf_counter()
        tallies.append(attempt(own))
        took = time.perf_counter() - began
        print(f"{name}: {tallies[-1].tried} in {took:.0f} s", file=sys.stderr, flush=True)
        shutil.rmtree(own)
    return tallies


if __name__ == "__main__":
    sys.exit(main())
