"""Write the generated parts of the documents; called by cog from the Markdown files.

Each function prints Markdown to cog's output. Start reading at `cli_help`. `make docs` writes the parts,
`make check` fails when they are stale.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import cog  # type: ignore[import-not-found]  # exists while cog runs

ROOT = Path(__file__).resolve().parent.parent


def out(*lines: str) -> None:
    """Print lines of Markdown."""
    for line in lines:
        cog.outl(line)
