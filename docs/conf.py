"""Sphinx settings: MyST pages, furo, and the API read off the docstrings."""

from dids import __version__

project = "DIDS"
author = "the DIDS authors"
project_copyright = "the DIDS authors"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"DIDS {__version__}"
html_static_path = []

myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Docstrings speak of other modules' names in passing.
default_role = "code"
