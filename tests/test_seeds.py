import pytest
import torch

from cxr.generate.noise import generator_for, initial_latents
from cxr.request.setting import MAX_SEED

SHAPE = (4, 8, 8)


def test_a_row_depends_on_its_own_seed_only() -> None:
    together = initial_latents([3, 7, 11], SHAPE)
    for row, seed in enumerate([3, 7, 11]):
        assert torch.equal(together[row], initial_latents([seed], SHAPE)[0])
    assert torch.equal(initial_latents([11, 3], SHAPE), together[[2, 0]])


def test_latents_are_standard_normal_float32() -> None:
    latents = initial_latents(range(100), SHAPE)
    assert latents.shape == (100, *SHAPE)
    assert latents.dtype == torch.float32
    assert abs(latents.mean().item()) < 0.02
    assert abs(latents.std().item() - 1) < 0.02


@pytest.mark.parametrize("seed", [0, 1, 2**32, MAX_SEED])
def test_all_allowed_seeds_work_and_stay_on_the_cpu(seed: int) -> None:
    generator = generator_for(seed)
    assert generator.device.type == "cpu"
    assert generator.initial_seed() == seed


def test_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    initial_latents([1, 2], SHAPE)
    assert torch.equal(before, torch.random.get_rng_state())
