"""Sphinx makes a site of the documentation: sphinx-build -W -c docs . site. Needs the extra `docs`."""

from typing import Any

from pydantic import BaseModel

# autodoc writes into the annotations of pydantic's BaseModel, after which FastAPI can't be imported: it comes first
import queuesim.admin.api  # noqa: F401

project = "queuesim"
html_title = project
html_theme = "shibuya"
html_extra_path = ["start"]
html_static_path = html_css_files = ["site.css"]
html_show_copyright = False
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

# the source directory is the repository, so that links between README.md, docs/ and reports/ hold as they stand
include_patterns = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs/*.md", "reports/*.md"]
root_doc = "docs/index"
myst_heading_anchors = 4

default_role = "code"
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config,model_post_init",
}
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"


def setup(app: Any) -> None:
    """Correct what autodoc and napoleon make of some signatures and docstrings."""

    def hide_signature(_: Any, what: str, name: str, documented: Any, options: Any, given: str, returns: str) -> Any:
        """A protocol's signature says nothing; that of a pydantic model fills pages with validators."""
        hidden = given == "(*args, **kwargs)" or (isinstance(documented, type) and issubclass(documented, BaseModel))
        return ("", returns) if what == "class" and hidden else None

    def hide_first_line(_: Any, what: str, name: str, documented: Any, options: Any, lines: list[str]) -> None:
        """Napoleon would take what stands before a colon in the first line of an attribute's docstring for its type."""
        if what in ("attribute", "data", "property"):
            lines[:0] = ["..", ""]  # an empty comment

    app.connect("autodoc-process-signature", hide_signature)
    app.connect("autodoc-process-docstring", hide_first_line, priority=0)
