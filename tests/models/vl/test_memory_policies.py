"""The named memories: all there, new at each call, and the names known without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
from millrace.models.vl.memory.groups import GroupPositions
from millrace.models.vl.memory.policies import _MAKERS, policy_named
from millrace.models.vl.memory.policy import Cue
from millrace.models.vl.memory.sizes import POLICIES, RELEASED_SIZES, TINY_SIZES, MemorySizes
from millrace.models.vl.positions import CONTIGUOUS
from segment_fakes import Maker, picture


@pytest.mark.parametrize("sizes", [TINY_SIZES, RELEASED_SIZES], ids=["tiny", "released"])
@pytest.mark.parametrize("name", POLICIES)
def test_each_name_makes_a_memory_of_its_own(name: str, sizes: MemorySizes) -> None:
    one, other = policy_named(name, sizes), policy_named(name, sizes)
    assert one.window.keep(Maker().opening()) is not None
    assert one.recall is None or one.recall is not other.recall
    if one.recall is not None and other.recall is not None:
        one.recall.seen(picture(0, 1.0))
        assert not other.recall.recall(Cue(1.0, None))


def test_names_and_makers_are_the_same() -> None:
    assert tuple(_MAKERS) == POLICIES


def test_an_unknown_name_is_told_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'best'; choose from default, streamingllm, "):
        policy_named("best", TINY_SIZES)


@pytest.mark.parametrize(
    ("sizes", "asking"), [(RELEASED_SIZES, {"default", "rex"}), (TINY_SIZES, {"rex"})]
)
def test_only_memories_that_search_ask_for_queries(sizes: MemorySizes, asking: set[str]) -> None:
    wants = {
        name for name in POLICIES if (r := policy_named(name, sizes).recall) and r.wants_queries
    }
    assert wants == asking


def test_only_groups_stand_apart() -> None:
    for name in POLICIES:
        layout = policy_named(name, TINY_SIZES).layout
        assert isinstance(layout, GroupPositions) if name == "group" else layout is CONTIGUOUS


def test_names_sizes_and_windows_load_no_torch() -> None:
    program = (
        "import sys, millrace.models.vl.memory.sizes, millrace.models.vl.memory.windows\n"
        "import millrace.models.vl.memory.groups\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
