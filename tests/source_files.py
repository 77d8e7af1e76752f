"""Small files made by hand, and how tests read them as sources."""

import pytest

from evokd.data.sources import read_source
from evokd.errors import InputError
from evokd.recipe.corpus import CorpusSource

BOTH = ["en-de", "de-en"]
RECORDS = [
    {"translation": {"de": "Hund", "en": "dog"}},
    {"translation": {"de": "K\n\tz", "en": ""}},
]
TMX = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE tmx SYSTEM "tmx14.dtd">
<tmx version="1.4"><header srclang="en"/><body>
<tu><tuv xml:lang="en-US"><seg>A &lt;dog&gt; &amp;
 more</seg></tuv><tuv xml:lang="de"><seg>Ein <bpt i="1">&lt;b&gt;</bpt>Hund<ept i="1"/><hi>!</hi>
</seg></tuv></tu>
<tu><tuv lang="EN-GB"><seg>cat</seg></tuv><tuv lang="EN-US"><seg>kitty</seg></tuv>
<tuv lang="DE-DE"><seg>Katze</seg></tuv></tu>
<tu><tuv xml:lang="fr"><seg>chat</seg></tuv><tuv xml:lang="en"><seg>cat</seg></tuv></tu>
</body></tmx>
"""


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8"))
    return path


def read(root, path, directions=("en-de",), **keys):
    pairs, _ = read_source(CorpusSource(path=path, **keys), directions, root)
    return pairs


def texts(pairs):
    return [(pair.source, pair.target) for pair in pairs]


def facts(pairs):
    return [(pair.direction, pair.source, pair.target, pair.origin) for pair in pairs]


def fails(root, path, *fragments, directions=("en-de",), **keys):
    with pytest.raises(InputError) as error:
        read(root, path, directions, **keys)
    for fragment in fragments:
        assert fragment in str(error.value), str(error.value)
