"""Sphinx configuration: Markdown pages through MyST, the API page from NumPy-style docstrings."""

from importlib.util import find_spec

import bitterfly

project = "bitterfly"
author = "bitterfly developers"
copyright = author
version = release = bitterfly.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
exclude_patterns = ["_build"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"bitterfly {version}"
nitpicky = False

autodoc_member_order = "bysource"
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
autodoc_mock_imports = [] if find_spec("torch") else ["torch"]
