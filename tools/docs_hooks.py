"""Hooks of MkDocs: pages that live beside docs/ become pages of the site, and links to other files lead out of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BESIDE = {"README.md": "readme.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
"""Pages at the top of the repository, and what the site calls them."""
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from beside docs/."""
    from mkdocs.structure.files import File

    for name, page in BESIDE.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links as the site has its pages. What is no page of it is named in place of being linked."""
    source = page.file.src_uri
    home = ROOT if source in BESIDE.values() else (ROOT / "docs" / source).parent

    def relink(match: re.Match[str]) -> str:
        picture, text, target = match.groups()
        if target.startswith(("http://", "https://", "#")):
            return match[0]
        path, hash_sign, anchor = target.partition("#")
        file = (home / path).resolve().relative_to(ROOT).as_posix()
        if file in BESIDE:
            return f"{picture}[{text}]({BESIDE[file]}{hash_sign}{anchor})"
        if file.startswith("docs/"):
            return f"{picture}[{text}]({file.removeprefix('docs/')}{hash_sign}{anchor})"
        return f"{text} (`{file}`)" if text.strip("`") != file else f"`{file}`"

    blocks = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(block if block.startswith("```") else LINK.sub(relink, block) for block in blocks)
