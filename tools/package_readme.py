"""README as a package index shows it, which has none of the files beside it.

Where `[project.urls]` of pyproject.toml names a `Repository`, a link to a file leads there; where
it doesn't, the words of the link stay. Links to other sites are left as they are.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK_TO_FILE = re.compile(r"\[([^\]]*)\]\((?![a-z]+:|#)([^)]+)\)")


def for_an_index(text: str, repository: str | None) -> str:
    """Markdown without a relative link."""
    kept = rf"[\1]({repository.rstrip('/')}/blob/HEAD/\2)" if repository else r"\1"
    return LINK_TO_FILE.sub(kept, text)


class PackageReadme(MetadataHookInterface):
    """What hatchling asks for the field `readme`, which is dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": for_an_index(text, repository),
        }
