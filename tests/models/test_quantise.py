"""Which layers run in eight bits: measured, chosen within a limit, kept in a file, put to use."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from millrace.kernels import Fp8Weight
from millrace.models.block import Block, Reading
from millrace.models.dit import CausalDiT
from millrace.models.quantise import (
    ChoiceError,
    Fp8Choice,
    LayerError,
    fingerprint,
    groups_of,
    narrowed,
    put_to_use,
)
from millrace.models.quantise_error import (
    Distance,
    Inputs,
    Runner,
    calibrate,
    local_errors,
    most_within,
    random_inputs,
)
from millrace.models.sigmas import Level
from torch import Tensor

from .conftest import randomize, small_dit_spec

LEVELS = (Level(0.7, 700.0), Level(0.4, 400.0))


def model(dim: int = 32) -> CausalDiT:
    dit = CausalDiT(replace(small_dit_spec(stem=False), dim=dim, ffn_dim=48))
    randomize(dit)
    return dit.eval().requires_grad_(False)


def prompt(dit: CausalDiT) -> Reading:
    with torch.no_grad():
        return dit.read(torch.randn(1, 3, 10, generator=torch.Generator().manual_seed(3)))


def runner(dit: CausalDiT) -> Runner:
    return Runner(dit, random_inputs(dit, (1, 1, 4, 4), 4, LEVELS, prompt(dit)))


@pytest.fixture(scope="module")
def calibrated() -> tuple[CausalDiT, Fp8Choice]:
    dit = model()
    return dit, calibrate(runner(dit), 0.05, "small")


def test_groups_are_what_runs_together() -> None:
    dit = model()
    groups = groups_of(dit)
    assert len(groups) == 2 * 6
    assert [len(layers) for layers in groups.values()][:6] == [3, 1, 1, 1, 1, 1]
    # 24 is no multiple of 16: nothing of such a model can be in eight bits.
    assert not groups_of(model(dim=24))


def test_runs_of_one_memory_are_alike_and_of_another_seed_are_not() -> None:
    dit = model()
    run = runner(dit)
    first = run()
    assert first.shape == (4 * 2, 1, 1, 4, 4, 4)
    assert torch.equal(first, run())
    other = Runner(dit, random_inputs(dit, (1, 1, 4, 4), 4, LEVELS, prompt(dit), seed=1))
    assert not torch.equal(first, other())


def test_local_errors_are_of_each_layer_on_the_plain_models_inputs() -> None:
    dit = model()
    run = runner(dit)
    before = run()
    found = local_errors(run, groups_of(dit))
    assert torch.equal(run(), before)  # the model is as it was
    # e4m3 has three bits after the point: a product of rounded rows and channels errs by percents.
    assert all(0.01 < error < 0.08 for error in found.values())

    # The last layer of the last block: nothing of its input depends on itself.
    seen: list[Tensor] = []
    (last,) = groups_of(dit)["blocks.1.ffn.2"]
    handle = last.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    run()
    handle.remove()
    narrow = Fp8Weight.of(last.weight)
    exact = [torch.nn.functional.linear(x, last.weight, last.bias) for x in seen]
    off = [narrow.product_with(x, last.bias) - one for x, one in zip(seen, exact, strict=True)]
    expected = torch.cat(off).norm() / torch.cat(exact).norm()
    assert found["blocks.1.ffn.2"] == pytest.approx(float(expected), rel=1e-4)


def test_each_group_is_measured_alone(calibrated: tuple[CausalDiT, Fp8Choice]) -> None:
    dit, choice = calibrated
    run, groups = runner(dit), groups_of(dit)
    wanted = run()
    for name in ("blocks.0.self_attn.qkv", "blocks.1.ffn.0"):
        with narrowed(groups[name]):
            found = Distance.of(run(), wanted)
        assert choice.layers[name].whole == pytest.approx(found.error) and found.error > 0


def test_what_was_measured_is_what_comes_of_it(
    calibrated: tuple[CausalDiT, Fp8Choice], tmp_path: Path
) -> None:
    """Written, read, and put to use on the same weights loaded again: the error is the file's."""
    _, choice = calibrated
    assert choice.chosen and choice.error <= choice.limit
    file = tmp_path / "fp8.json"
    choice.save(file)
    again = Fp8Choice.load(file)
    assert again == choice
    fresh = model()
    wanted = runner(fresh)()
    put_to_use(fresh, again)
    eight = [n for n, p in fresh.named_parameters() if isinstance(p, Fp8Weight)]
    assert len(eight) == sum(len(groups_of(model())[name]) for name in choice.chosen)
    reached = Distance.of(runner(fresh)(), wanted)
    assert reached.error == pytest.approx(choice.error)
    assert reached.psnr_db == pytest.approx(choice.psnr_db)
    assert str(len(choice.chosen)) in choice.told() and "limit 0.05" in choice.told()


def test_the_sensitive_layers_are_left_as_they_are() -> None:
    """One block's gates are wide open, so what its layers err by shows more than the others'."""
    dit = model()
    with torch.no_grad():
        cast(Block, dit.blocks[1]).modulation[:, [2, 5]] += 4.0
    everything = calibrate(runner(dit), math.inf, "small")
    assert len(everything.chosen) == len(everything.layers)
    limit = 0.6 * everything.error
    strict = calibrate(runner(dit), limit, "small")
    assert strict.chosen and strict.error <= limit < everything.error
    left = {name: layer.whole for name, layer in strict.layers.items() if not layer.fp8}
    assert max(left, key=lambda name: left[name]).startswith("blocks.1.")
    assert all(strict.layers[name].whole <= min(left.values()) for name in strict.chosen)


def test_no_limit_is_met_by_nothing_but_the_plain_model() -> None:
    choice = calibrate(runner(model()), 0.0, "small")
    assert not choice.chosen and choice.error == 0.0 and choice.psnr_db == math.inf


def test_progress_never_passes_its_end() -> None:
    told: list[tuple[int, int]] = []
    calibrate(runner(model()), 0.03, "small", lambda done, most: told.append((done, most)))
    assert [done for done, _ in told] == list(range(1, len(told) + 1))
    assert all(done <= most for done, most in told)


squares = st.lists(st.floats(1e-4, 1.0), min_size=1, max_size=40)


@given(squares, st.floats(1e-3, 2.0))
def test_as_many_as_the_limit_allows(parts: list[float], limit: float) -> None:
    """Where squares of errors add up, none more could have been taken."""
    errors = {str(index): part for index, part in enumerate(parts)}
    asked: list[int] = []

    def measure(names: Sequence[str]) -> Distance:
        asked.append(len(names))
        return Distance(math.sqrt(sum(errors[name] ** 2 for name in names)), 0.0)

    chosen, reached = most_within(errors, limit, measure)
    assert len(asked) <= 1 + len(parts).bit_length()
    assert reached.error <= limit
    left = sorted(error for name, error in errors.items() if name not in chosen)
    assert not left or math.hypot(reached.error, left[0]) > limit


def test_distances() -> None:
    wanted = torch.tensor([0.0, 1.0, 2.0, 3.0])
    found = wanted + torch.tensor([0.1, -0.1, 0.1, -0.1])
    far = Distance.of(found, wanted)
    assert far.error == pytest.approx(0.1 / math.sqrt(3.5))
    assert far.psnr_db == pytest.approx(20 * math.log10(30))
    assert Distance.of(wanted, wanted) == Distance(0.0, math.inf)
    assert Distance.of(wanted / 0, wanted).error == math.inf


CHOICE = Fp8Choice("small", "abc", "4 chunks", 0.05, 0.02, 40.0, {"a": LayerError(0.1, 0.2, True)})


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"kind": "holiday"}, "is not a choice of layers"),
        ({"format": 9}, "has format 9 and not 1"),
        ({"layers": {"a": {"local": 1}}}, "is damaged"),
        ({"layers": None}, "is damaged"),
        ({"error": "much"}, "is damaged"),
    ],
)
def test_a_file_of_something_else_is_refused_with_the_remedy(
    tmp_path: Path, change: dict[str, object], why: str
) -> None:
    file = tmp_path / "fp8.json"
    CHOICE.save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ChoiceError, match=f"{why}.*; make one with `millrace bench fp8"):
        Fp8Choice.load(file)


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "fp8.json").write_text(text)
    with pytest.raises(ChoiceError, match="make one with"):
        Fp8Choice.load(tmp_path / "fp8.json")
    with pytest.raises(ChoiceError, match="make one with"):
        Fp8Choice.load(tmp_path / "nothing.json")


def test_a_choice_for_another_model_or_other_weights_is_refused(
    calibrated: tuple[CausalDiT, Fp8Choice],
) -> None:
    _, choice = calibrated
    with pytest.raises(ChoiceError, match="made for another model"):
        put_to_use(model(), CHOICE)
    other = model()
    randomize(other, seed=5)
    with pytest.raises(ChoiceError, match="measured on other weights"):
        put_to_use(other, choice)
    assert not any(isinstance(p, Fp8Weight) for p in other.parameters())


def test_the_fingerprint_is_of_the_weights_and_not_of_their_type() -> None:
    assert fingerprint(model()) == fingerprint(model().to(torch.bfloat16))
    other = model()
    randomize(other, seed=5)
    assert fingerprint(other) != fingerprint(model())


def test_inputs_tell_their_size() -> None:
    dit = model()
    given: Inputs = random_inputs(dit, (2, 3, 4, 6), 5, LEVELS, prompt(dit))
    assert given.size == (2, 3, 4, 6) and given.latents.shape == (5, 2, 3, 4, 4, 6)
    assert given.latents.std() == pytest.approx(1.0, abs=0.1)
