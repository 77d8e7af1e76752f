"""The verb that puts a student on the hub: push."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

from evokd.cli.parser import flag, verb
from evokd.errors import InputError
from evokd.progress import say
from evokd.recipe.exports import EXPORT, is_export
from evokd.report.results import Results
from evokd.rundir.files import read_json
from evokd.rundir.integrity import CARD

STUDENT = re.compile(r"(?P<system>.+)\.seed(?P<seed>\d+)")


class Pushed(NamedTuple):
    """A model, and the run that it stands in, if it does."""

    folder: Path
    results: Results | None = None
    system: str = ""
    seed: int | None = None


@verb(
    "evokd push runs/m30k ORG/small-en-de --system seq_kd --dry-run",
    flag("run RUN", "a finished run, one of its models, or an export", type=Path),
    flag("repo_id REPO_ID", "the repository, as ORG/NAME"),
    flag("--system NAME", "of a run, which student; default: the one that its page is about"),
    flag("--seed", "of several, which; default: the recipe's first", type=int),
    flag("--license ID", "for the card, e.g. apache-2.0; default: none is named"),
    flag("--private", "make a repository that only you see", action="store_true"),
    flag("--dry-run", "only say what would go, and print the card", action="store_true"),
)
def push(args: argparse.Namespace) -> int:
    """A student to the Hugging Face hub: its files, a card, its scores."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if args.repo_id.count("/") != 1:
        raise InputError(f"REPO_ID: found {args.repo_id}; ORG/NAME is accepted")
    try:
        validate_repo_id(args.repo_id)
    except HFValidationError as error:
        raise InputError(f"REPO_ID: {error}") from None
    pushed = _chosen(args)
    paths = [path for path in sorted(pushed.folder.rglob("*")) if path.is_file()]
    named = {path.relative_to(pushed.folder).as_posix(): path for path in paths}
    # .git and .cache are of who downloaded it; the hub takes neither.
    files = {name: path for name, path in named.items() if "/." not in f"/{name}"}
    card = _card(pushed, args.repo_id, args.license)
    sizes = {name: path.stat().st_size for name, path in files.items()}
    for name, size in (sizes | {CARD: len(card.encode())}).items():
        say(f"{size / 2**20:10.2f} MiB  {name}")
    if args.dry_run:
        print(card, end="")
        say(f"nothing was sent; without --dry-run this goes to {args.repo_id}")
        return 0
    say(f"to be seen at {_send(args, files, card)}")
    return 0


def _chosen(args: argparse.Namespace) -> Pushed:
    """What is meant. Raises InputError: nothing that can be pushed, or no such student."""
    folder = args.run
    if (folder / "config.json").is_file():
        if args.system or args.seed is not None:
            raise InputError(f"{folder} is one model; --system and --seed are of a run")
        return _in_its_run(folder)
    if not (folder / "results.json").is_file():
        raise InputError(
            f"{folder} holds no model and no finished run; a run folder with results.json, "
            "students/NAME.seedN/model in it, or an export is accepted"
        )
    results = Results.read(folder)
    system = args.system or results.focus or results.plain_student or ""
    seed = args.seed if args.seed is not None else next(iter(results.seeds), 1)
    model = folder / f"students/{system}.seed{seed}/model"
    if not model.is_dir():
        there = ", ".join(sorted(p.parent.name for p in folder.glob("students/*/model")))
        raise InputError(f"{folder} has no student {system}.seed{seed}; there are {there}")
    return Pushed(model, results, system, seed)


def _in_its_run(folder: Path) -> Pushed:
    """A model, and its run: RUN/students/NAME/model or RUN/exports/NAME/FORMAT/model."""
    for up, place in ((2, "students"), (3, "exports")):
        above = folder.absolute().parents
        run = above[up] if len(above) > up else None
        named = STUDENT.fullmatch(above[up - 2].name) if run else None
        if run and named and above[up - 1].name == place and (run / "results.json").is_file():
            return Pushed(folder, Results.read(run), named["system"], int(named["seed"]))
    return Pushed(folder)


def _card(pushed: Pushed, repo_id: str, license_id: str | None) -> str:
    from evokd.report.card import model_card

    if not (pushed.folder / "directions.json").is_file():
        raise InputError(
            f"{pushed.folder} doesn't say what it translates (directions.json); a student of a "
            "run, or what `evokd export … -l en-de` makes, does"
        )
    directions = read_json(pushed.folder / "directions.json")
    library = read_json(pushed.folder / EXPORT)["format"] if is_export(pushed.folder) else ""
    library = {"": "transformers", "safetensors": "transformers"}.get(library, library)
    given = (pushed.results, pushed.system, pushed.seed)
    return model_card(pushed.folder, repo_id, directions, library, license_id, *given)


def _send(args: argparse.Namespace, files: dict[str, Path], card: str) -> Any:
    """All of it in one commit. Raises InputError: the hub can't be reached, or refuses it."""
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import LocalTokenNotFoundError

    api = HfApi(library_name="evokd")
    contents: dict[str, Any] = {**files, CARD: card.encode()}
    try:
        url = api.create_repo(args.repo_id, exist_ok=True, private=args.private or None)
        api.create_commit(
            args.repo_id,
            [CommitOperationAdd(name, content) for name, content in contents.items()],
            commit_message="evokd push",
        )
    except Exception as error:  # of the network, the hub, the token: many kinds
        words = f"{args.repo_id}: the hub said: {' '.join(str(error).split())[:300]}"
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403) or isinstance(error, LocalTokenNotFoundError):
            words += "; `hf auth login` or HF_TOKEN say who you are"
        raise InputError(words) from error
    return url
