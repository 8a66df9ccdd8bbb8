"""What every test of the guard starts from."""

from __future__ import annotations

import pytest

from policyguard.labels.recent import Recent


@pytest.fixture(autouse=True)
def nothing_seen_yet(request: pytest.FixtureRequest) -> None:
    """A module's shared guard has no memory of the test before."""
    shared = getattr(request.module, "GUARD", None)
    if shared is not None:
        shared.recent = Recent()
