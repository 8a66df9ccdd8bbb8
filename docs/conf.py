"""Sphinx configuration: MyST Markdown, furo; built with -n -W, so a broken link fails the build."""

from __future__ import annotations

import tomllib
from pathlib import Path

_PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text("utf-8"))

project = "policyguard"
author = "the policyguard authors"
copyright = "the policyguard authors, Apache-2.0"
release = version = _PROJECT["project"]["version"]

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True

html_theme = "furo"
html_title = f"policyguard {release}"
html_show_sourcelink = False
pygments_style = "friendly"
