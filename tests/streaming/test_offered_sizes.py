"""Every size that a model offers is one that it takes."""

from __future__ import annotations

import pytest
from millrace.models.policies import POLICIES
from millrace.models.sd.specs import SPECS
from millrace.streaming.pipeline import PipelineInfo, StreamConfig
from millrace.streaming.sd_info import sd_info
from millrace.streaming.session import check_size
from millrace.streaming.wan_info import wan_info

OFFERING = [sd_info(spec) for spec in SPECS.values()]
OFFERING += [wan_info(name, name, policy, False) for name, policy in POLICIES.items()]


@pytest.mark.parametrize("info", OFFERING, ids=lambda info: info.name)
def test_what_is_offered_is_taken(info: PipelineInfo) -> None:
    assert info.size == info.sizes[0], "the preferred one comes first"
    assert len(set(info.sizes)) == len(info.sizes) > 3
    shapes = {(w > h) - (w < h) for w, h in info.sizes}
    assert shapes == {-1, 0, 1}, "wide, tall and square"
    for width, height in info.sizes:
        check_size(info, StreamConfig(width, height, 24.0))
