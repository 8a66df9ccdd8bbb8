"""A denial points at the application's line, not at ours or a library's."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from policyguard import PolicyViolation
from policyguard.enforce.site import call_site
from tests.enforce.kit import ACCOUNT, EMAIL, guard

GUARD = guard()


def test_the_site_is_this_very_line() -> None:
    """Called from a test, it names the test's file and line, relative to the working folder."""
    here = sys._getframe().f_lineno
    assert call_site() == f"{Path(__file__).relative_to(Path.cwd())}:{here + 1}"


def test_library_frames_are_passed_over() -> None:
    """Between the application and us may stand the standard library."""
    here = sys._getframe().f_lineno
    (found,) = map(partial(lambda call, _: call(), call_site), [0])
    assert found.endswith(f"test_site.py:{here + 1}")


def test_a_denial_under_a_deep_stack_is_still_a_denial() -> None:
    """However deep the call, the violation comes and names a line."""

    def deeper(left: int) -> None:
        if left:
            deeper(left - 1)
        else:
            GUARD.check("x", to="pixel", data=EMAIL)

    with GUARD.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        deeper(300)
    assert "test_site.py:" in caught.value.sent_at


def test_a_working_folder_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    """A daemon whose folder was removed still gets the denial, with a place."""
    folder = tmp_path / "gone"
    folder.mkdir()
    script = tmp_path / "job.py"
    script.write_text(
        "import os\n"
        "from policyguard.enforce.site import call_site\n"
        f"os.chdir({str(folder)!r}); os.rmdir({str(folder)!r})\n"
        "print(call_site())\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )
    assert done.stdout.strip().endswith("job.py:4"), done.stderr
