"""The tiny checkpoints: their denoiser, network and model sampling, the host that runs them without ComfyUI."""

import pytest
import torch

from restart_art.tiny import LATENT_SHAPE, TinyDenoiser, load_tiny
from restart_art.tiny import checkpoint as checkpoints
from restart_art.tiny.digits import digits, encode
from restart_art.tiny.mmdit import CONTEXT, CONTEXT_TOKENS, MMDiT
from restart_art.tiny.sampling import DiscreteEpsSampling, FlowSampling

from tiny_tools import KINDS, points


@pytest.fixture(scope="module", params=KINDS)
def model(request):
    return load_tiny(request.param)


# The denoiser


def test_shape_dtype_and_determinism(model):
    x, sigma, classes = points(model)
    before = x.clone()
    out = model(x, sigma, classes=classes)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert torch.equal(x, before)
    assert torch.equal(out, model(x, sigma, classes=classes))
    assert torch.equal(out, load_tiny(model.kind)(x, sigma, classes=classes))


def test_per_sample_levels_agree_with_one_by_one(model):
    x, sigma, classes = points(model)
    together = model(x, sigma, classes=classes)
    alone = torch.cat([model(x[i : i + 1], sigma[i : i + 1], classes=classes[i : i + 1]) for i in range(len(x))])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=2e-5)


def test_batch_order_does_not_matter(model):
    x, sigma, classes = points(model)
    back = model(x.flip(0), sigma.flip(0), classes=classes.flip(0)).flip(0)
    torch.testing.assert_close(model(x, sigma, classes=classes), back, atol=2e-5, rtol=2e-5)


def test_denoises(model):
    """At every level the answer is nearer to the clean digit than the noised input is."""
    x, sigma, classes = points(model, 40)
    clean = encode(digits()[0][:40])
    error = (model(x, sigma, classes=classes) - clean).square().mean((1, 2, 3))
    assert (error < (x - clean).square().mean((1, 2, 3))).all()


def test_class_steers_and_none_means_zeros(model):
    x, sigma, classes = points(model)
    free = model(x, sigma)
    assert torch.equal(free, model(x, sigma, classes=None))
    assert not torch.allclose(free, model(x, sigma, classes=classes), atol=1e-3)
    pooled = checkpoints.pooled_classes(None, len(x), x)
    assert pooled.shape == (6, 2048)
    assert not pooled.any()
    named = checkpoints.pooled_classes(classes, len(x), x)
    assert torch.equal(named[:, :10].argmax(1), classes)
    assert torch.equal(named.sum(1), torch.ones(6))


def test_gradients_flow_to_input_and_level():
    for made_in_inference in (False, True):
        with torch.inference_mode(made_in_inference):
            model = load_tiny("flow")
        x, sigma, classes = points(model)
        x.requires_grad_(True)
        sigma.requires_grad_(True)
        model(x, sigma, classes=classes).square().mean().backward()
        assert x.grad.abs().sum() > 0
        assert sigma.grad.abs().sum() > 0
        assert all(parameter.grad is None for parameter in model.parameters())


def test_inference_mode_gives_the_same(model):
    x, sigma, classes = points(model)
    plain = model(x, sigma, classes=classes)
    with torch.inference_mode():
        assert torch.equal(plain, model(x, sigma, classes=classes))


def test_double_precision_works(model):
    double = load_tiny(model.kind).double()
    x, sigma, classes = points(model)
    out = double(x.double(), sigma.double(), classes=classes)
    assert out.dtype == torch.float64
    torch.testing.assert_close(out.float(), model(x, sigma, classes=classes), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(6, 4, 8, 8)}, "x must be"),
        ({"x": torch.zeros(16, 8, 8)}, "x must be"),
        ({"sigma": torch.ones(5)}, "sigma must be"),
        ({"sigma": torch.ones(())}, "sigma must be"),
        ({"classes": torch.zeros(5, dtype=torch.int64)}, "classes must be"),
        ({"classes": torch.zeros(6)}, "classes must be"),
        ({"classes": torch.full((6,), 10)}, "digits 0..9"),
        ({"classes": torch.full((6,), -1)}, "digits 0..9"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    model = load_tiny("flow")
    x, sigma, classes = points(model)
    given = {"x": x, "sigma": sigma, "classes": classes} | change
    with pytest.raises(ValueError, match=message):
        model(given["x"], given["sigma"], classes=given["classes"])


def test_unknown_arguments_are_refused(model):
    x, sigma, _ = points(model)
    with pytest.raises(TypeError):
        model(x, sigma, cfg=3.0)
    with pytest.raises(ValueError, match="not 'sdxl'"):
        load_tiny("sdxl")
    with pytest.raises(ValueError, match="not 'v'"):
        TinyDenoiser("v", MMDiT(1))


# The network


def test_one_weighted_token_equals_77_tokens_of_zeros(model):
    network = load_tiny(model.kind).double().network
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, *LATENT_SHAPE, generator=generator, dtype=torch.float64)
    t = torch.tensor([0.0, 30.0, 400.0, 999.0], dtype=torch.float64)
    pooled = checkpoints.pooled_classes(torch.tensor([1, 2, 3, 4]), 4, x)
    # the stored embedding has a zero weight; the bias alone would hide a wrong token count, so check one, too
    zeros = torch.zeros(4, CONTEXT_TOKENS, CONTEXT, dtype=torch.float64)
    short = network(x, t, pooled)
    torch.testing.assert_close(short, network(x, t, pooled, zeros), atol=1e-10, rtol=1e-10)
    assert (short - network(x, t, pooled, zeros[:, :1])).abs().max() > 1e-4


@pytest.mark.parametrize("depth", [1, 3])
def test_other_depths_and_sizes(depth):
    torch.manual_seed(0)
    network = MMDiT(depth)
    again = MMDiT.from_state_dict(network.state_dict())
    x, t, pooled = torch.randn(2, 16, 8, 12), torch.tensor([3.0, 500.0]), torch.zeros(2, 2048)
    zeros = torch.zeros(2, CONTEXT_TOKENS, CONTEXT)
    assert again.hidden == 64 * depth
    assert again(x, t, pooled).shape == x.shape
    torch.testing.assert_close(network(x, t, pooled), again(x, t, pooled, zeros), atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="even"):
        network(torch.randn(2, 16, 7, 8), t, pooled)
    with pytest.raises(ValueError, match="depth"):
        MMDiT(0)


def test_foreign_state_is_refused():
    state = MMDiT(1).state_dict()
    for broken in ({}, {**state, "pos_embed": torch.zeros(1)}, dict(list(state.items())[:-1])):
        with pytest.raises(ValueError, match="SD3"):
            MMDiT.from_state_dict(broken)


# The model sampling


def test_flow_levels():
    sampling = FlowSampling()
    assert sampling.sigmas.shape == (1000,)
    assert sampling.sigma_max == 1
    assert float(sampling.sigma_min) == pytest.approx(0.003 / 1.002, rel=1e-5)
    assert float(sampling.sigma(torch.tensor(500.0))) == pytest.approx(0.75)
    assert float(sampling.timestep(torch.tensor(0.25))) == 250
    assert sampling.percent_to_sigma(0.0) == 1
    assert sampling.percent_to_sigma(1.0) == 0
    assert sampling.percent_to_sigma(0.5) == pytest.approx(0.75)


def test_eps_levels():
    sampling = DiscreteEpsSampling()
    assert sampling.sigmas.shape == (1000,)
    assert float(sampling.sigma_min) == pytest.approx(0.0292, abs=1e-4)
    assert float(sampling.sigma_max) == pytest.approx(14.6146, abs=1e-3)
    index = torch.arange(1000)
    assert torch.equal(sampling.timestep(sampling.sigmas), index)
    torch.testing.assert_close(sampling.sigma(index), sampling.sigmas)
    middle = (sampling.sigmas[10] * sampling.sigmas[11]).sqrt()
    torch.testing.assert_close(sampling.sigma(torch.tensor(10.5)), middle)
    assert sampling.timestep(torch.tensor([[1e-9], [1e9]])).tolist() == [[0], [999]]
    assert sampling.percent_to_sigma(0.0) > 1e8
    assert sampling.percent_to_sigma(1.0) == 0


@pytest.mark.parametrize("sampling", [FlowSampling(), DiscreteEpsSampling()])
def test_noise_scaling_is_undone_by_a_perfect_network(sampling):
    generator = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 3, *LATENT_SHAPE, generator=generator)
    sigma = torch.tensor([0.05, 0.4, 0.9])
    x = sampling.noise_scaling(sigma, noise, latent)
    answer = noise - latent if isinstance(sampling, FlowSampling) else noise
    torch.testing.assert_close(sampling.calculate_denoised(sigma, answer, x), latent, atol=1e-5, rtol=1e-5)
    one = sampling.noise_scaling(sigma[:1], noise, latent)
    torch.testing.assert_close(one[0], x[0])
    clean = sampling.noise_scaling(sigma, torch.zeros_like(noise), latent)
    torch.testing.assert_close(sampling.inverse_noise_scaling(sigma, clean), latent, atol=1e-5, rtol=1e-5)
