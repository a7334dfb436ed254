import json
import subprocess
import sys

import pytest

from srzoo.architecture import Architecture
from srzoo.registry import architectures
from srzoo.testing import MODEL_CHECKS, check_compile, check_fit, check_record

FAMILIES = list(architectures().values())
NAMES = [(arch, name) for arch in FAMILIES for name in arch.model_names()]
each_family = pytest.mark.parametrize("arch", FAMILIES, ids=lambda arch: arch.family)
each_name = pytest.mark.parametrize(("arch", "name"), NAMES, ids=[name for _, name in NAMES])

# The suite's run-time shape checks wrap every forward, which torch.compile(fullgraph=True) cannot take in:
# compilation is checked in a process of its own.
COMPILE_ALL = """
import json, sys
from srzoo.registry import architectures
from srzoo.testing import check_compile
told = {}
for arch in architectures().values():
    for name in list(arch.model_names())[: int(sys.argv[2])]:
        try:
            check_compile(arch, name, backend=sys.argv[1])
            told[name] = None
        except Exception as error:
            told[name] = repr(error)
print(json.dumps(told))
"""


def compile_outcomes(backend: str, names_a_family: int) -> dict[str, str | None]:
    command = [sys.executable, "-c", COMPILE_ALL, backend, str(names_a_family)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.fixture(scope="module")
def eager_outcomes() -> dict[str, str | None]:
    return compile_outcomes("eager", names_a_family=1000)


@each_family
def test_the_record_is_complete(arch: Architecture) -> None:
    check_record(arch)


@each_name
@pytest.mark.parametrize(
    "check",
    [check for check in MODEL_CHECKS if check not in (check_compile, check_fit)],
    ids=lambda check: check.__name__.removeprefix("check_"),
)
def test_the_model_keeps_the_contract(check, arch: Architecture, name: str) -> None:
    check(arch, name)


@pytest.mark.parametrize(
    ("arch", "name"),
    [(arch, name) for arch, name in NAMES if arch.fit is not None],
    ids=[name for arch, name in NAMES if arch.fit is not None],
)
def test_the_fit_keeps_the_contract(arch: Architecture, name: str) -> None:
    try:
        check_fit(arch, name)
    except ImportError as error:  # of an extra
        pytest.skip(str(error))


@each_name
def test_the_whole_forward_is_one_graph(arch: Architecture, name: str, eager_outcomes: dict[str, str | None]) -> None:
    assert eager_outcomes[name] is None


@pytest.mark.slow
def test_the_smallest_model_of_each_family_compiles_with_inductor() -> None:
    outcomes = compile_outcomes("inductor", names_a_family=1)
    assert len(outcomes) == len(FAMILIES)
    assert not any(outcomes.values()), outcomes
