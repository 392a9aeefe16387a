"""Injected noise: each sample of a batch has its own stream; what the seed is decides which."""

from __future__ import annotations

import itertools

import pytest
import torch

from restart_art.samplers.noise import (
    gaussian_noise,
    item_generators,
    item_noise,
    item_uniform,
    seeded_generator,
)


def draw(extra_args, batch, stream=0, count=64):
    return torch.stack([torch.randn(count, generator=g) for g in item_generators(extra_args, batch, stream)])


def test_one_seed_gives_the_first_items_whatever_the_batch():
    five = draw({"seed": 9}, 5)
    for batch in (1, 2, 4):
        assert torch.equal(draw({"seed": 9}, batch), five[:batch])
    assert torch.equal(torch.randn(64, generator=seeded_generator({"seed": 9})), five[0])


@pytest.mark.parametrize("seeds", [[3, 8, 3], (3, 8, 3), torch.tensor([3, 8, 3])], ids=["list", "tuple", "tensor"])
def test_seeds_of_a_list_are_those_of_single_runs(seeds):
    found = draw({"seed": seeds}, 3)
    for row, seed in zip(found, (3, 8, 3), strict=True):
        assert torch.equal(row, draw({"seed": seed}, 1)[0])
    assert torch.equal(torch.randn(64, generator=seeded_generator({"seed": seeds})), found[0])


@pytest.mark.parametrize(("seeds", "batch"), [([1, 2], 3), ([1, 2, 3], 2), ([], 1)])
def test_a_list_of_another_length_is_named(seeds, batch):
    with pytest.raises(ValueError, match=f"seed has {len(seeds)} values.* one for each of {batch} samples"):
        item_generators({"seed": seeds}, batch)


def test_streams_items_and_neighbouring_seeds_are_independent():
    """No two of 5 seeds x 3 streams x 4 items, nor the hosts' own start of these seeds, correlate."""
    rows = [draw({"seed": s}, 4, stream, 4096) for s in (0, 1, 2, 41, 2**63 + 7) for stream in (0, 1, 2)]
    hosts = [torch.randn(4096, generator=torch.Generator().manual_seed(s)) for s in (0, 1, 2, 41, 42)]
    correlation = torch.corrcoef(torch.cat([*rows, torch.stack(hosts)])) - torch.eye(65)
    assert correlation.abs().max() < 0.09  # 5.7 standard deviations of 1 / sqrt(4096)


def test_without_a_seed_torchs_global_generator_decides():
    def unseeded():
        return draw(None, 2)

    torch.manual_seed(5)
    first, second = unseeded(), unseeded()
    torch.manual_seed(5)
    assert torch.equal(unseeded(), first)
    assert not torch.equal(first, second)


def test_seeds_as_large_as_the_hosts_and_negative_ones():
    for one, other in itertools.combinations((0, -1, 2**64 - 1, 2**63, 2**31), 2):
        if (one - other) % 2**32:  # torch's CPU generator, the host's too, reads 32 bits of a seed
            assert not torch.equal(draw({"seed": one}, 1), draw({"seed": other}, 1))


@pytest.mark.parametrize("shape", [(3, 5), (3, 2, 7), (3, 4, 5, 6), (3, 2, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_noise_is_like_x_and_the_same_in_every_precision(shape, dtype):
    x = torch.zeros(shape, dtype=dtype)
    noise = gaussian_noise(x, {"seed": 2})
    exact = gaussian_noise(x.float(), {"seed": 2})
    for _ in range(3):
        found = noise(0.1, 0.5)
        assert (found.dtype, found.shape) == (dtype, x.shape)
        assert torch.equal(found, exact(0.1, 0.5).to(dtype))


def test_later_draws_of_a_batch_are_those_of_the_single_run_too():
    x = torch.zeros(3, 4, 7, 5)  # 140 numbers a sample: no multiple of the block torch draws in
    batch, single = gaussian_noise(x, {"seed": 6}), gaussian_noise(x[:1], {"seed": 6})
    draws = [batch(0.1, 1.0) for _ in range(4)]
    for found in draws:
        assert torch.equal(found[:1], single(0.1, 1.0))
    everything = torch.stack(draws).reshape(12, -1)
    assert (torch.corrcoef(everything) - torch.eye(12)).abs().max() < 0.45
    assert everything.mean().abs() < 0.1
    assert everything.std() == pytest.approx(1.0, abs=0.1)


def test_a_noise_sampler_is_used_instead_and_told_the_levels():
    asked = []

    def sampler(sigma, sigma_next):
        asked.append((sigma.ndim, float(sigma), float(sigma_next)))
        return torch.ones(2, 3, dtype=torch.float64)

    noise = gaussian_noise(torch.zeros(2, 3, dtype=torch.bfloat16), {"seed": [1, 2, 3]}, sampler)(0.25, 2.0)
    assert asked == [(0, 0.25, 2.0)]
    assert noise.dtype == torch.bfloat16
    assert (noise == 1).all()


def test_uniform_draws_are_uniform_and_item_by_item():
    found = item_uniform(item_generators({"seed": 4}, 3), 500, 2)
    assert (found.shape, found.dtype) == ((3, 500, 2), torch.float64)
    assert torch.equal(found[:1], item_uniform(item_generators({"seed": 4}, 1), 500, 2))
    assert found.min() >= 0
    assert found.max() < 1
    assert found.mean() == pytest.approx(0.5, abs=0.03)
    assert found.var() == pytest.approx(1 / 12, rel=0.06)


def test_noise_moves_to_the_device_of_x():
    x = torch.empty(2, 3, 4, device="meta", dtype=torch.float16)
    found = item_noise(x, item_generators({"seed": 1}, 2))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float16, x.shape)
