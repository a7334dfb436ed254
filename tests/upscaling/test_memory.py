from pathlib import Path

import pytest
import torch

from srzoo.upscaling import memory
from srzoo.upscaling.memory import DEFAULT_CPU, MOST_CPU, budget, free_memory, is_out_of_memory, most, parse_memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2GB", 2 * 10**9), ("2 gb", 2 * 10**9), ("512MiB", 512 * 2**20), ("1.5G", 15 * 10**8), ("1e9", None),
        (10**7, 10**7), ("3000000", 3 * 10**6), ("2500k", 25 * 10**5), ("1tib", 2**40), ("", None), ("GB", None),
        ("-2GB", None), ("2XB", None), ("1 2GB", None), ("0.9MB", None), (0, None), ("nan", None),
    ],
)  # fmt: skip
def test_memory_in_words(text: str | int, size: int | None) -> None:
    if size is not None:
        assert parse_memory(text) == size
        return
    with pytest.raises(ValueError, match="give") as caught:
        parse_memory(text)
    assert repr(text) in str(caught.value)


@pytest.mark.usefixtures("as_users_call")
def test_memory_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="memory is None"):
        parse_memory(None)  # pyright: ignore[reportArgumentType]


def test_the_default_does_not_depend_on_what_is_free_as_long_as_there_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for free, taken, at_most in (
        (10**12, DEFAULT_CPU, MOST_CPU),
        (4 * 10**9, DEFAULT_CPU, MOST_CPU),
        (10**9, DEFAULT_CPU, DEFAULT_CPU),
    ):
        monkeypatch.setattr(memory, "free_memory", lambda _, free=free: free)
        assert (budget(CPU), most(CPU)) == (taken, at_most)
        assert (budget(CPU, "2GB"), most(CPU, "2GB")) == (2 * 10**9, 2 * 10**9)
    monkeypatch.setattr(memory, "free_memory", lambda _: 3 * 10**8)
    assert budget(CPU) == 15 * 10**7
    monkeypatch.setattr(memory, "free_memory", lambda _: None)
    assert (budget(CPU), most(CPU)) == (DEFAULT_CPU, DEFAULT_CPU)


def test_a_container_s_limit_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    machine = free_memory(CPU)
    assert machine is None or machine > 10**6
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_memory(CPU) == 2 * 10**6
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU) != 2 * 10**6


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("The size of tensor a (3) must match"), False),
        (ValueError("out of memory"), False),
        (OSError(28, "No space left on device"), False),
    ],
)  # fmt: skip
def test_what_running_out_of_memory_looks_like(error: Exception, expected: bool) -> None:
    assert is_out_of_memory(error) is expected
