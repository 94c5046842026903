import pytest
import torch

from dansm.config import Network
from dansm.errors import InputError
from dansm.models.networks import make_network, tune_network

PRESET = Network(channels=[8, 16], layers_per_block=1, attention_at=[4], dropout=0.1, norm_groups=4)
SHAPE = (2, 8, 8)


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 16, 8)])
def test_predictions_have_the_points_shape(shape):
    network = make_network(PRESET, shape, seed=0).eval()
    points = torch.randn(2, *shape)
    with torch.no_grad():
        early, late = (network(points, torch.full((2,), t)).sample for t in (0.0, 999.0))
    assert early.shape == points.shape
    assert not torch.equal(early, late)


@pytest.mark.parametrize(
    ("attention_at", "down", "middle"),
    [
        ([], ["DownBlock2D", "DownBlock2D"], 0),
        ([4], ["DownBlock2D", "AttnDownBlock2D"], 1),
        ([8, 4], ["AttnDownBlock2D", "AttnDownBlock2D"], 1),
        ([16], ["DownBlock2D", "DownBlock2D"], 0),
    ],
)
def test_attention_is_where_the_preset_says(attention_at, down, middle):
    network = make_network(PRESET.model_copy(update={"attention_at": attention_at}), SHAPE, 0)
    assert [type(block).__name__ for block in network.down_blocks] == down
    assert [type(block).__name__ for block in network.up_blocks] == [
        name.replace("Down", "Up") for name in reversed(down)
    ]
    assert sum(a is not None for a in network.mid_block.attentions) == middle


def test_the_preset_sets_channels_depth_groups_and_dropout():
    network = make_network(PRESET, SHAPE, 0)
    assert [block.resnets[0].out_channels for block in network.down_blocks] == [8, 16]
    assert {len(block.resnets) for block in network.down_blocks} == {1}
    modules = list(network.modules())
    assert {m.num_groups for m in modules if isinstance(m, torch.nn.GroupNorm)} == {4}
    resnets = [r for b in (*network.down_blocks, *network.up_blocks) for r in b.resnets]
    assert {r.dropout.p for r in resnets} == {0.1}


def test_patches_are_channels_of_a_smaller_image():
    patched = make_network(PRESET.model_copy(update={"patch": 2}), (3, 8, 12), seed=0).eval()
    plain = make_network(PRESET, (12, 4, 6), seed=0).eval()
    assert equal(patched.state_dict(), plain.state_dict())
    points, times = torch.randn(2, 3, 8, 12), torch.tensor([5.0, 500.0])
    squares = points.reshape(2, 3, 4, 2, 6, 2).permute(0, 1, 3, 5, 2, 4).reshape(2, 12, 4, 6)
    with torch.no_grad():
        found, expected = patched(points, times).sample, plain(squares, times).sample
    expected = expected.reshape(2, 3, 2, 2, 4, 6).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 8, 12)
    torch.testing.assert_close(found, expected)
    assert sum(a is not None for a in patched.mid_block.attentions) == 1  # at its height of 4


def test_a_seed_gives_the_same_weights_and_leaves_the_global_generator_alone():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = make_network(PRESET, SHAPE, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert equal(first, make_network(PRESET, SHAPE, seed=5).state_dict())
    assert not equal(first, make_network(PRESET, SHAPE, seed=6).state_dict())


def test_channels_last_is_how_weights_lie_not_what_they_are():
    network, tuned = make_network(PRESET, SHAPE, seed=1), make_network(PRESET, SHAPE, seed=1)
    tune_network(tuned, channels_last=True, compiled=False)
    assert tuned.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    assert equal(network.state_dict(), tuned.state_dict())
    points, times = torch.randn(2, *SHAPE), torch.rand(2)
    with torch.no_grad():
        outputs = [model.eval()(points, times).sample for model in (network, tuned)]
    torch.testing.assert_close(*outputs)


def test_without_a_compiler_nothing_is_compiled(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CC", "none")
    with pytest.raises(InputError, match=r"compile: torch\.compile needs a C compiler, found none"):
        tune_network(make_network(PRESET, SHAPE), channels_last=False, compiled=True)
