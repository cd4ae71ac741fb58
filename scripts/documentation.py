"""The hook of the documentation's site (mkdocs.yml): adds the generated pages, and makes Markdown of the repository's
host and of the site's generator mean the same.

The documents are written for both: people read them in the repository too.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts import reference_pages  # noqa: E402

LIST_ITEM = re.compile(r"(?:[-*]|\d+\.) ")
FENCE = re.compile(r"\s*(```|~~~)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make anchors as the repository's host makes them, so that links work in both places."""
    config.mdx_configs.setdefault("toc", {})["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, and whatever else is made from other files."""
    made = {**reference_pages.pages(), "changelog.md": changelog()}
    for place, content in made.items():
        files.append(File.generated(config, place, content=content))
    config.nav = with_folders(config.nav, made)
    return files


def changelog() -> str:
    """Return the changelog, which lies at the repository's top, as a document of this folder."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")


def with_folders(nav: Any, made: Iterable[str]) -> Any:
    """Return the navigation with each folder (``reference/roles/``) replaced by the list of its generated pages."""
    if isinstance(nav, list):
        return [with_folders(entry, made) for entry in nav]
    if isinstance(nav, dict):
        return {title: with_folders(value, made) for title, value in nav.items()}
    if not nav.endswith("/"):
        return nav
    found = sorted(place for place in made if place.startswith(nav))
    return sorted(found, key=lambda place: not place.endswith("index.md"))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return a document as the site's generator wants it."""
    if page.file.src_uri.startswith("reference/"):
        # Who searches wants to read about a thing first, and then how it is called.
        page.meta["search"] = {"boost": 0.3}
    return indented(markdown.replace("](../CHANGELOG.md", "](changelog.md"))


def indented(markdown: str) -> str:
    """Return Markdown whose list items have their further lines four columns in, and an empty line before them.

    The repository's host takes a list right below its paragraph, and what stands below an item's text as a part of
    the item. The site's generator wants an empty line and four columns.
    """
    lines: list[str] = []
    in_fence = in_list = False
    marker = 0
    for line in markdown.splitlines():
        if FENCE.match(line):
            in_fence = not in_fence
        if not in_fence and LIST_ITEM.match(line):
            if not in_list and lines and lines[-1].strip() and not FENCE.match(line):
                lines.append("")
            in_list, marker = True, len(LIST_ITEM.match(line)[0])  # type: ignore[index]
        elif in_list and line.strip():
            if line.startswith(" " * marker):
                line = "    " + line[marker:]
            elif not in_fence and not lines[-1].strip():
                in_list = False
        lines.append(line)
    return "\n".join(lines) + "\n"
