"""The composition root: settings from files and environment to a ready Guard."""

from policyguard.config.guard import Guard, install, installed, uninstall
from policyguard.config.loaded import Loaded, load_config
from policyguard.config.settings import NAMES, Settings

__all__ = [
    "NAMES",
    "Guard",
    "Loaded",
    "Settings",
    "install",
    "installed",
    "load_config",
    "uninstall",
]
