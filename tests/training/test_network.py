"""The training network against independent references: PyTorch's attention, the straight-through pieces, and
the exported `LlamaForCausalLM`."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from tinyalign.common.errors import InputError
from tinyalign.ternary import quantize_weight, ste_activation, ste_weight, ternary_layers
from tinyalign.training.export import from_story_model, to_story_model
from tinyalign.training.network import CausalAttention, QuantizedLinear, StoryNet
from tinyalign.training.recipe import Shape
from tinyalign.training.vocabulary import train_tokenizer

SHAPE = Shape(d_model=32, n_layers=2, n_heads=2, d_mlp=48, n_ctx=64, d_vocab=300)
TEXT = "the cat sat on a mat and the dog ran to a big red ball in the park with his mom and dad"
WORDS = TEXT.split(" ")


@pytest.fixture(scope="module")
def tokenizer():
    texts = [" ".join(WORDS[i:] + WORDS[:i]) for i in range(len(WORDS))] * 3
    return train_tokenizer(texts, 300, SHAPE.n_ctx)


@pytest.mark.parametrize("bits", [1, 1.58])
def test_quantized_linear_is_the_straight_through_product(bits: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 16, requires_grad=True)
    weights = [torch.randn(5, 16, requires_grad=True), torch.randn(3, 16, requires_grad=True) * 0.1]
    weights = [w.detach().requires_grad_() for w in weights]
    upstream = torch.randn(7, 8)
    mine = QuantizedLinear.apply(x, bits, *weights)
    mine_grads = torch.autograd.grad(mine, [x, *weights], upstream)
    reference = torch.cat([functional.linear(ste_activation(x), ste_weight(w, bits)) for w in weights], 1)
    grads = torch.autograd.grad(reference, [x, *weights], upstream)
    assert torch.allclose(mine, reference, atol=1e-5)
    for found, expected in zip(mine_grads, grads, strict=True):
        assert torch.allclose(found, expected, atol=1e-4)


def test_attention_is_pytorchs() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(6, 9, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    mask = torch.full((9, 9), float("-inf"), dtype=torch.float64).triu(1)
    upstream = torch.randn(6, 9, 8, dtype=torch.float64)
    mine = CausalAttention.apply(q, k, v, mask)
    reference = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    assert torch.allclose(mine, reference, atol=1e-12)
    found = torch.autograd.grad(mine, [q, k, v], upstream)
    expected = torch.autograd.grad(reference, [q, k, v], upstream)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-12)


def test_exported_float_model_gives_the_same_logits(tokenizer) -> None:
    torch.manual_seed(1)
    net = StoryNet(SHAPE, 16).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
            parameter.copy_(parameter.half().float())
    model = to_story_model(net, tokenizer, name="test", source="a test")
    ids = torch.randint(0, 300, (3, 40))
    with torch.no_grad():
        assert torch.allclose(net(ids).view(3, 40, -1), model.network(ids).logits, atol=1e-5)
    assert model.bits == 16


@pytest.mark.parametrize("bits", [1, 1.58])
def test_exported_trits_are_those_of_the_latent_weights_and_come_back(tokenizer, bits: float) -> None:
    torch.manual_seed(2)
    net = StoryNet(SHAPE, bits).eval()
    model = to_story_model(net, tokenizer, name="test", source="a test")
    layers = ternary_layers(model.network)
    assert len(layers) == 2 * 7
    expected = quantize_weight(net.get_parameter("blocks.1.down").detach(), bits)
    assert torch.equal(layers["model.layers.1.mlp.down_proj"].trits, expected.trits)
    ids = torch.randint(0, 300, (2, 30))
    with torch.no_grad():
        difference = (net(ids).view(2, 30, -1) - model.network(ids).logits).abs()
    # An activation on the edge between two int8 values may round either way in two orders of arithmetic.
    assert difference.median() < 1e-4 and difference.max() < 0.2
    again = to_story_model(from_story_model(model, bits), tokenizer, name="test", source="a test")
    for name, layer in ternary_layers(again.network).items():
        assert torch.equal(layer.trits, layers[name].trits)
        assert torch.allclose(layer.scale, layers[name].scale, rtol=1e-5)


def test_saved_models_keep_their_identity(tokenizer, tmp_path) -> None:
    from tinyalign.models import load
    from tinyalign.models.saving import save

    for bits in (16, 1.58):
        torch.manual_seed(3)
        model = to_story_model(StoryNet(SHAPE, bits), tokenizer, name="test", source="a test")
        save(model, tmp_path / "model", float_bits=16 if bits == 16 else 32)
        assert load(tmp_path / "model").sha256 == model.sha256


def test_a_foreign_shape_is_refused(tokenizer) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    from tinyalign.models.story_model import make_story_model

    config = LlamaConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    grouped = make_story_model(LlamaForCausalLM(config), tokenizer, source="a test", name="grouped")
    with pytest.raises(InputError, match="grouped queries"):
        from_story_model(grouped, 16)


def test_bits_are_checked() -> None:
    with pytest.raises(InputError, match="2 bits"):
        StoryNet(SHAPE, 2)


def test_a_teacher_gives_its_own_logits(tokenizer) -> None:
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    from tinyalign.models.story_model import make_story_model
    from tinyalign.training.distillation import Teacher, distillation_loss

    torch.manual_seed(4)
    lean = to_story_model(StoryNet(SHAPE, 16), tokenizer, name="lean", source="a test")
    config = GPTNeoConfig(
        vocab_size=300, hidden_size=32, num_layers=2, attention_types=[[["global", "local"], 1]], num_heads=2
    )
    other = make_story_model(GPTNeoForCausalLM(config), tokenizer, source="a test", name="other")
    ids = torch.randint(0, 300, (2, 20))
    for model in (lean, other):
        teacher = Teacher(model, tokenizer)
        with torch.no_grad():
            expected = model.network(ids).logits.flatten(0, 1)
        assert torch.allclose(teacher(ids), expected, atol=1e-5)
        assert not any(p.requires_grad for p in teacher.parameters())
        # The gradient vanishes where the student agrees with its teacher.
        logits = expected.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(distillation_loss(logits, expected), logits)
        assert gradient.abs().max() < 1e-7
