"""Laws of the transformer blocks."""

import pytest
import torch

from ldm.modules.attention import (
    CrossAttention,
    SpatialTransformer,
    project_context,
)


def naive_attention(layer, x, context):
    """softmax(q k^T / sqrt(d)) v, head by head."""
    q, k, v = layer.to_q(x), layer.to_k(context), layer.to_v(context)
    size = q.shape[-1] // layer.heads
    heads = []
    for part in range(layer.heads):
        cut = slice(part * size, (part + 1) * size)
        weights = (q[..., cut] @ k[..., cut].transpose(1, 2) / size**0.5).softmax(-1)
        heads.append(weights @ v[..., cut])
    return layer.to_out(torch.cat(heads, -1))


def test_cross_attention_equals_its_formula():
    torch.manual_seed(0)
    layer = CrossAttention(12, 6, heads=3, head_channels=4)
    x, context = torch.randn(2, 9, 12), torch.randn(2, 5, 6)
    assert torch.allclose(layer(x, context), naive_attention(layer, x, context), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_projected_context_says_exactly_what_the_context_says(dtype):
    """In the weights' precision, whatever the context's; one pair of keys and values a block."""
    torch.manual_seed(0)
    layer = SpatialTransformer(32, 4, 8, 2, 16, use_linear=False, use_checkpoint=False).to(dtype)
    layer.proj_out.weight.data.normal_()
    x, context = torch.randn(2, 32, 3, 5, dtype=dtype), torch.randn(2, 7, 16)
    projected = project_context(layer, context)
    assert len(projected) == 2 * 2 and all(value.shape == (2, 7, 32) for value in projected.values())
    assert torch.equal(layer(x, context.to(dtype)), layer(x, projected))
    assert not torch.equal(layer(x, projected), layer(x, project_context(layer, context + 1)))


@pytest.mark.parametrize("use_linear", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_layout_of_the_feature_map_is_kept(layout, use_linear):
    """In another layout every later convolution would copy its weights at every call."""
    layer = SpatialTransformer(32, 4, 8, 1, 16, use_linear=use_linear, use_checkpoint=False).to(memory_format=layout)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    y = layer(torch.randn(2, 32, 4, 6).to(memory_format=layout), torch.randn(2, 7, 16))
    assert y.is_contiguous(memory_format=layout)
