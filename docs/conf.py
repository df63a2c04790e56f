"""Sphinx settings: MyST pages, furo, and the API read off the docstrings."""

import gc
import re
from typing import Any

from sphinx.application import Sphinx

from dids import __version__

project = "DIDS"
author = "the DIDS authors"
project_copyright = "the DIDS authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"DIDS {__version__}"
html_static_path = []

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
myst_url_schemes = {
    "http": None,
    "https": None,
    "mailto": None,
    "source": "_modules/{{path}}.html#{{fragment}}",
}

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Docstrings speak of other modules' names in passing.
default_role = "code"

SOURCE_LINK = re.compile(r"\[(`(?P<name>[\w.]+)`|[^\]]*)\]\(\.\./src/(?P<path>dids/[\w/]+)\.py\)")

SIDEBARS: dict[tuple[Any, ...], str] = {}


def link_to_source_pages(app: Sphinx, page: str, text: list[str]) -> None:
    """A link to a file of the package, which GitHub opens, leads to the site's page of it."""

    def as_scheme(match: re.Match[str]) -> str:
        fragment = match["name"] or ""
        return f"[{match[1]}](source:{match['path']}#{fragment})"

    text[0] = SOURCE_LINK.sub(as_scheme, text[0])


def share_navigation(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object
) -> None:
    """Pages of source stand nowhere in the site's tree, so those of one depth have one sidebar.

    Made anew for each of them, it takes two thirds of the time of a build.
    """
    if not page.startswith("_modules/"):
        return
    depth, made = page.count("/"), context["toctree"]

    def toctree(**options: Any) -> str:
        key = (depth, *sorted(options.items()))
        if key not in SIDEBARS:
            SIDEBARS[key] = made(**options)
        return SIDEBARS[key]

    context["toctree"] = toctree


def setup(app: Sphinx) -> None:
    # Pages are kept until the end: looking through them for garbage takes two fifths of a build.
    gc.disable()
    app.connect("source-read", link_to_source_pages)
    app.connect("html-page-context", share_navigation, priority=100)  # before the theme's own
