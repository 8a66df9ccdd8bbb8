"""The pytest plugin, in real runs of pytest: mode, marks, fixtures, summary, workers."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from tests.enforce.kit import DATA_MAP, POLICY

pytest_plugins = ["pytester"]

# Found by its entry point where the distribution is installed, else named.
KNOWN = any(point.name == "policyguard" for point in entry_points(group="pytest11"))
NAMED = () if KNOWN else ("-p", "policyguard.testing.plugin")

FLOWS = """
from policyguard.testing import assert_flow, assert_no_flows, assert_none_left
ADS, ACCOUNT = "marketing.advertising", "essential.service.account"
FACE, EMAIL = "user.biometric.face_embedding", "user.contact.email"
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project with a policy, a configuration and a test configuration."""
    pytester.makefile(
        ".toml", policyguard=f'policy = "{POLICY}"\ndata_map = "{DATA_MAP}"\nmode = "block"\n'
    )
    pytester.makeini(
        "[pytest]\naddopts = -p no:cacheprovider -p no:hypothesispytest -W error --strict-markers\n"
    )
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    """Run pytest in a process of its own."""
    return project.runpytest_subprocess(*NAMED, *arguments)


def test_marked_tests_run_in_their_scope(project: pytest.Pytester) -> None:
    """Functions, classes, modules, async, parametrized and unittest tests; others don't."""
    project.makepyfile(
        test_functions=f"""
        import asyncio, unittest, pytest
        from policyguard.enforce.context import current_scope
        {FLOWS.strip().replace(chr(10), chr(10) + " " * 8)}

        def here():
            scope = current_scope()
            return None if scope is None else scope.path

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        def test_plain():
            assert here() is None

        @pytest.mark.policyguard(purpose=ADS)
        def test_marked():
            assert here() == (ADS,)

        @pytest.mark.policyguard(purpose=ADS, subject=7, facts={{"consent": {{ADS: True}}}})
        def test_person(policyguard_guard):
            assert current_scope().subject == 7
            assert policyguard_guard.decide(data="user.behavior", to="pixel").allowed

        @pytest.mark.policyguard(purpose=ADS)
        @pytest.mark.parametrize("number", [1, 2])
        def test_many(number):
            assert here() == (ADS,)

        @pytest.mark.policyguard(purpose=ADS)
        @pytest.mark.anyio
        async def test_async():
            await asyncio.sleep(0)
            assert here() == (ADS,)
            assert await asyncio.to_thread(here) == (ADS,)

        @pytest.mark.anyio
        async def test_async_beside_it():
            assert here() is None

        @pytest.mark.policyguard(purpose=ADS)
        class TestMarked:
            def test_of_class(self):
                assert here() == (ADS,)

            @pytest.mark.policyguard(purpose=ACCOUNT)
            def test_own(self):
                assert here() == (ACCOUNT,)

            @pytest.mark.policyguard(subject=7)
            @pytest.mark.anyio
            async def test_added(self):
                assert here() == (ADS,)
                assert current_scope().subject == 7

        @pytest.mark.policyguard(purpose=ADS)
        class TestCase(unittest.TestCase):
            def test_case(self):
                assert here() == (ADS,)
        """,
        test_module="""
        import pytest
        from policyguard.enforce.context import current_scope
        pytestmark = pytest.mark.policyguard(purpose="marketing.advertising")

        def test_of_module():
            assert current_scope().purpose == "marketing.advertising"
        """,
    )
    run(project).assert_outcomes(passed=12)


def test_fixtures_give_guard_and_recorder_and_the_run_tells_what_was_denied(
    project: pytest.Pytester,
) -> None:
    """The configuration's guard; every denied flow once, with its count; nothing of values."""
    project.makepyfile(
        test_flows=f"""
        import pytest
        from policyguard import Guard, PolicyViolation
        {FLOWS.strip().replace(chr(10), chr(10) + " " * 8)}
        MINE = Guard.load({str(POLICY)!r}, mode="flag")

        def send(guard):
            guard.check("anna@example.org", to="pixel", data=FACE)

        @pytest.mark.policyguard(purpose=ADS)
        @pytest.mark.parametrize("number", range(3))
        def test_blocked(policyguard_guard, policyguard_recorder, number):
            with pytest.raises(PolicyViolation):
                send(policyguard_guard)
            assert_flow(policyguard_recorder, data=FACE, effect="blocked")
            assert_none_left(policyguard_recorder, data="user.biometric")

        def test_other_guard():
            with MINE.purpose(ADS):
                send(MINE)

        def test_later_guard():
            guard = Guard.load({str(POLICY)!r}, mode="flag")
            with guard.purpose(ADS):
                send(guard)

        def test_quiet(policyguard_recorder):
            assert policyguard_recorder.flows == ()

        @pytest.mark.policyguard(purpose=ADS)
        def test_fails(policyguard_guard, policyguard_recorder):
            with pytest.raises(PolicyViolation):
                send(policyguard_guard)
            assert_no_flows(policyguard_recorder, data="user.biometric")
        """
    )
    done = run(project)
    done.assert_outcomes(passed=6, failed=1)
    done.stdout.fnmatch_lines(
        [
            ">*assert_no_flows(policyguard_recorder, data=*",
            "E  *AssertionError: there must be no flow of `user.biometric`",
            "E  *but this was seen:",
            "E  *user.biometric.face_embedding to pixel, for marketing.advertising: blocked*",
            "*= policyguard: flows denied in this run =*",
            "    4 x blocked: user.*face_embedding to pixel, for *, sent at test_flows.py:*",
            "    2 x flagged: user.biometric.face_embedding to pixel, for *",
        ]
    )
    assert "anna@" not in done.stdout.str().replace('check("anna@example.org"', "")
    quiet = run(project, "-q", "--no-header", "-k", "other")
    assert "policyguard: 1 denied flow" in quiet.stdout.str()
    assert "sent at" not in quiet.stdout.str()


CONFTEST = f"""
from policyguard import Guard
early = Guard.load({str(POLICY)!r}, mode="block")
"""
MODES = f"""
from conftest import early
from policyguard import Guard, PolicyViolation

def becomes(guard):
    with guard.purpose("marketing.advertising"):
        try:
            guard.check("x", to="pixel", data="user.biometric")
        except PolicyViolation:
            return "blocked"
    return "passed"

def test_early():
    assert becomes(early) == EXPECTED

def test_later():
    assert becomes(Guard.load({str(POLICY)!r}, mode="block")) == EXPECTED

def test_of_configuration(policyguard_guard):
    assert becomes(policyguard_guard) == EXPECTED
"""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [((), "blocked"), (("--policyguard=flag",), "passed")],
    ids=["configuration", "flag"],
)
def test_the_run_may_choose_a_mode(
    project: pytest.Pytester, arguments: tuple[str, ...], expected: str
) -> None:
    """For guards that a conftest makes, that tests make, and the configuration's."""
    project.makeconftest(CONFTEST)
    project.makepyfile(test_modes=MODES.replace("EXPECTED", repr(expected)))
    done = run(project, *arguments)
    done.assert_outcomes(passed=3)
    assert ("policyguard: mode" in done.stdout.str()) is bool(arguments)


def test_a_guard_of_ones_own_takes_the_place(project: pytest.Pytester) -> None:
    """Marks and recorder use the overridden fixture, and no configuration is needed."""
    project.makeconftest(
        f"""
        import pytest
        from policyguard import Guard
        mine = Guard.load({str(POLICY)!r}, mode="flag")

        @pytest.fixture
        def policyguard_guard():
            return mine
        """
    )
    project.makepyfile(
        test_mine="""
        import pytest
        from conftest import mine

        @pytest.mark.policyguard(purpose="marketing.advertising")
        def test_mine(policyguard_guard, policyguard_recorder):
            assert policyguard_recorder.guard is policyguard_guard is mine
            mine.check("x", to="pixel", data="user.biometric")
            assert policyguard_recorder.denied
        """
    )
    (project.path / "policyguard.toml").unlink()
    run(project).assert_outcomes(passed=1)


def test_the_processs_guard_comes_before_the_configurations(project: pytest.Pytester) -> None:
    """What `policyguard.install` made is in use; the option `policyguard_config` names a file."""
    (project.path / "policyguard.toml").rename(project.path / "other.toml")
    project.makeini("[pytest]\npolicyguard_config = other.toml\n")
    project.makepyfile(
        test_process="""
        import policyguard
        from policyguard.enforce.modes import Modes

        def test_configured(policyguard_guard):
            assert policyguard_guard.snapshot.id == "picnic"

        def test_same(policyguard_guard, policyguard_recorder):
            assert policyguard_recorder.guard is policyguard_guard

        def test_install():
            globals()["mine"] = policyguard.install("other.toml")

        def test_installed(policyguard_guard):
            assert policyguard_guard is mine
            assert policyguard_guard.modes.override == "flag"

        def test_older_than_the_run():
            mine.modes = Modes(default="block")

        def test_the_mode_of_the_run_counts(policyguard_guard):
            assert policyguard_guard.modes.override == "flag"

        def test_and_no_longer_than_a_test():
            assert mine.modes.override is None

        def test_uninstall():
            policyguard.uninstall()

        def test_configured_again(policyguard_guard):
            assert policyguard_guard is not mine
        """
    )
    run(project, "--policyguard=flag").assert_outcomes(passed=9)


# fmt: off
WRONG = {
    "a position":    ('"marketing.advertising"', "arguments have names", 4),
    "a misspelling": ('purose="x"', "unknown argument `purose`", 4),
    "an unknown purpose": (
        'purpose="marketing.advertisin"', "did you mean `marketing.advertising`?", 1,
    ),
}
# fmt: on


@pytest.mark.parametrize(("argument", "says", "code"), WRONG.values(), ids=WRONG)
def test_a_mark_that_cannot_be_understood_is_a_clear_error(
    project: pytest.Pytester, argument: str, says: str, code: int
) -> None:
    """Named with its test, and without a traceback."""
    project.makepyfile(
        test_wrong=f"""
        import pytest

        @pytest.mark.policyguard({argument})
        def test_wrong():
            raise SystemError("it ran")
        """
    )
    done = run(project)
    text = done.stdout.str() + done.stderr.str()
    assert done.ret == code
    assert says in text
    assert "test_wrong.py::test_wrong" in text
    assert "Traceback" not in text
    assert "it ran" not in text.replace('SystemError("it ran")', "")


def test_without_a_configuration_the_fixture_says_what_to_do(pytester: pytest.Pytester) -> None:
    """A usage error of the test, not a traceback; other tests run."""
    pytester.makepyfile("def test_needs(policyguard_guard): pass\n\ndef test_other(): pass\n")
    done = run(pytester)
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(
        ["*no guard for the tests: PG501 *", "*override the fixture `policyguard_guard`*"]
    )
    assert "Traceback" not in done.stdout.str()


def test_counts_of_parallel_workers_add_up(project: pytest.Pytester) -> None:
    """pytest-xdist: marks, mode and fixtures work in workers, one summary tells of all."""
    project.makepyfile(
        test_parallel=f"""
        import pytest
        {FLOWS.strip().replace(chr(10), chr(10) + " " * 8)}

        @pytest.mark.policyguard(purpose=ADS)
        @pytest.mark.parametrize("number", range(6))
        def test_flagged(policyguard_guard, policyguard_recorder, number):
            policyguard_guard.check("x", to="pixel", data=FACE)
            assert len(policyguard_recorder.denied) == 1
        """
    )
    done = run(project, "-n", "2", "--policyguard=flag")
    done.assert_outcomes(passed=6)
    done.stdout.fnmatch_lines(["    6 x flagged: user.biometric.face_embedding to pixel, for *"])


def test_a_run_without_policyguard_pays_next_to_nothing(pytester: pytest.Pytester) -> None:
    """At the start of pytest, and in tests that don't use it, nothing of the package is loaded."""
    pytester.makepyfile(
        """
        import sys

        def test_loaded():
            mine = sorted(name for name in sys.modules if name.startswith("policyguard"))
            assert mine == ["policyguard", "policyguard.testing", "policyguard.testing.plugin"]
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_the_plugin_imports_the_standard_library_and_pytest_only() -> None:
    """Whatever else pytest brings along, nothing of ours that costs."""
    code = (
        "import sys, pytest; before = set(sys.modules); import policyguard.testing.plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [
        "policyguard",
        "policyguard.testing",
        "policyguard.testing.plugin",
    ]
