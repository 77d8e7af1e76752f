"""Data sets of the Hugging Face hub and sacreBLEU's test sets.

They need the network unless their files are cached; no other reader does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evokd.data.languages import language
from evokd.data.readers.records import record_unit
from evokd.data.source_request import SourceRequest, Unit
from evokd.data.textfiles import path_in, read_lines
from evokd.errors import InputError, require

_FOLDER = "./~"  # what the path of a local folder starts with


@dataclass(frozen=True)
class HubAddress:
    """`hub:REPO[/CONFIG]:SPLIT[:SRC:TGT][@REVISION]`, taken apart.

    A repo that starts with `.`, `/` or `~` is a folder of JSON, CSV or Parquet files.
    """

    repo: str
    config: str | None
    split: str
    columns: tuple[str, str] | None
    revision: str | None


def hub_address(path: str) -> HubAddress:
    """Take an address apart.

    Raises:
        InputError: it isn't one.
    """
    text, at, revision = path.removeprefix("hub:").partition("@")
    parts = re.split(r":(?![^\[]*\])", text)  # not inside train[:100]
    if len(parts) not in (2, 4) or not all(parts) or (at and not revision):
        raise InputError(
            f"{path!r} is no hub address; hub:REPO[/CONFIG]:SPLIT[:SRC:TGT][@REVISION] is "
            "accepted, e.g. hub:wmt/wmt16/de-en:train"
        )
    repo, split = parts[:2]
    columns = (parts[2], parts[3]) if len(parts) == 4 else None
    config = None
    if repo[0] not in _FOLDER and repo.count("/") > 1:
        owner, name, config = repo.split("/", 2)
        repo = f"{owner}/{name}"
    return HubAddress(repo, config, split, columns, revision or None)


def read_hub(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """A split of a hub data set with a `translation` column or two text columns.

    The commit that the revision means is part of each origin, so a run says what it read.

    Raises:
        InputError: `datasets` isn't installed, or the data set can't be had; says what was tried.
    """
    address = hub_address(request.name)
    if address.columns is not None:
        request = replace(request, columns=address.columns)
    rows, revision = _load_split(address, request)
    config = f"/{address.config}" if address.config else ""
    pinned = f"@{revision}" if revision else ""
    where = f"hub:{address.repo}{config}:{address.split}{pinned}"
    for number, row in enumerate(rows, start=1):
        yield record_unit(row, request, f"{where}, row {number},", f"{where}#{number}")


def _load_split(address: HubAddress, request: SourceRequest) -> tuple[Any, str | None]:
    """The rows, and the commit that their revision means now."""
    require("datasets", "hub", request.name)
    import datasets
    from huggingface_hub import HfApi

    repo, revision = address.repo, address.revision
    if repo[0] in _FOLDER:
        folder = path_in(request.root, repo)
        if not folder.is_dir():
            raise InputError(f"{request.name}: the folder {folder} doesn't exist")
        repo = str(folder)
    else:
        with suppress(Exception):  # offline: the cache may have it, and load_dataset says if not
            revision = HfApi().dataset_info(repo, revision=revision, timeout=20).sha or revision
    try:
        rows = datasets.load_dataset(repo, address.config, split=address.split, revision=revision)
    except Exception as error:  # datasets raises whatever its many loaders raise
        message = str(error).strip().split("\n")[0]
        raise InputError(
            f"{request.name} can't be loaded: tried datasets.load_dataset({repo!r}, "
            f"{address.config!r}, split={address.split!r}, revision={revision!r}), got "
            f"{type(error).__name__}: {message}; check the name and the network "
            "(HF_HUB_OFFLINE=1 reads the cache alone), or give local files"
        ) from None
    return rows, revision


def read_sacrebleu(request: SourceRequest, notes: list[str]) -> Iterator[Unit]:
    """A test set by sacreBLEU's name; each direction has texts of its own, the first reference is
    taken.

    Raises:
        InputError: an unknown name or direction, or files that can't be fetched.
    """
    import sacrebleu

    name = request.name.removeprefix("sacrebleu:")
    if name not in sacrebleu.DATASETS:
        raise InputError(
            f"sacreBLEU {sacrebleu.__version__} knows no test set {name!r}; accepted: those of "
            "sacrebleu --list, e.g. sacrebleu:wmt22"
        )
    known = sacrebleu.DATASETS[name].langpairs
    for source, target in request.directions:
        pair = f"{language(source).code}-{language(target).code}"
        if pair not in known:
            if request.explicit:
                raise InputError(f"{request.name} has no {pair}; it has {', '.join(known)}")
            continue
        files = _test_set_files(name, pair)
        sources, references = (read_lines(path) for path in files[:2])
        if len(sources) != len(references):
            raise InputError(
                f"{files[0]} has {len(sources)} lines, {files[1]} has {len(references)}; delete "
                "the folder and fetch the test set again"
            )
        notes.append(
            f"{request.name} {pair}: reference {files[1].name}"
            + (f", {len(files) - 2} more not used" if len(files) > 2 else "")
        )
        for number, (text, reference) in enumerate(zip(sources, references, strict=True), start=1):
            origin = f"{request.name}/{pair}#{number}"
            yield Unit({source: text, target: reference}, origin, (source, target))


def _test_set_files(name: str, pair: str) -> list[Path]:
    """The source and the references of a test set, fetched if they aren't cached."""
    from sacrebleu import utils

    try:
        source = utils.get_source_file(name, pair)
        references = utils.get_reference_files(name, pair)
    except (Exception, SystemExit) as error:  # sacreBLEU exits where a download fails
        raise InputError(
            f"sacrebleu:{name} {pair} can't be fetched ({type(error).__name__}: {error}); it needs "
            "the network once; without it, give local files: path: test (test.en, test.de)"
        ) from None
    return [Path(source), *map(Path, references)]
