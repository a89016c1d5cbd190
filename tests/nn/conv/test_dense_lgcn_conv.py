import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from lgcn.checks import InputError
from lgcn.nn import CONNECTIVITIES, Connectivity, DenseLGCNConv, LearnableConnectivity, LGCNConv
from tests.nn.inputs import (
    Landmarks,
    assert_close,
    assert_same_gradients,
    build_connectivity,
    literal_of,
    random_landmarks,
    randomize,
)

K, C = 6, 4


def build(connectivity: Connectivity | None, dtype: torch.dtype = torch.float64, **options: bool) -> DenseLGCNConv:
    return randomize(DenseLGCNConv(C, 3, connectivity, **options)).to(dtype)


def sparse_twin(conv: DenseLGCNConv) -> LGCNConv:
    twin = LGCNConv(
        conv.in_channels,
        conv.out_channels,
        copy.deepcopy(conv.connectivity),
        conv.shape_features,
        conv.lin_self.bias is not None,
    ).to(conv.lin_self.weight.dtype)
    twin.load_state_dict(conv.state_dict())
    return twin


def run_sparse(conv: LGCNConv, landmarks: Landmarks, mask: Tensor | None = None) -> Tensor:
    batch = landmarks.graph(mask)
    return conv(batch.x, batch.edge_index, batch.pos, batch.landmark_id, batch.confidence)


def test_size_and_repr() -> None:
    landmarks = random_landmarks(2, K, C)
    conv = DenseLGCNConv(C, 3, LearnableConnectivity(K))
    assert str(conv) == "DenseLGCNConv(4, 3, connectivity=LearnableConnectivity(6), shape_features=True)"
    assert conv(*landmarks).shape == (2, K, 3)
    out, weight = conv(*landmarks, return_connectivity=True)
    assert_close(out, conv(*landmarks))
    assert_close(weight, conv.connectivity.dense(landmarks.confidence))
    conv = DenseLGCNConv(C, 3, shape_features=False)
    assert conv(landmarks.x, edge_weight=weight.detach()).shape == (2, K, 3)


@pytest.mark.parametrize("options", [{}, {"shape_features": False}, {"bias": False}])
@pytest.mark.parametrize("images", [2, 600 // K])  # few nodes and many are computed in two ways
def test_frozen_is_a_copy_that_stays(images: int, options: dict[str, bool]) -> None:
    landmarks = random_landmarks(images, K, C, torch.float64)
    conv = build(LearnableConnectivity(K), **options)
    expected, state = conv(*landmarks), copy.deepcopy(conv.state_dict())
    frozen = conv.frozen()
    assert not frozen.training and not any(parameter.requires_grad for parameter in frozen.parameters())
    assert frozen.state_dict().keys() == state.keys()
    randomize(conv)
    with torch.no_grad():
        for copied in (frozen, copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
            assert_close(copied(*landmarks), expected)
        assert_close(frozen.float()(*(each.float() for each in landmarks)), expected.float())


def test_a_frozen_layer_computes_with_weights_that_it_loads_or_learns() -> None:
    x, _, _ = random_landmarks(2, K, C, torch.float64)
    weight = torch.rand(2, K, K, dtype=torch.float64)
    other = build(None, shape_features=False)
    loaded, trained = (build(None, shape_features=False).frozen() for _ in range(2))
    loaded.load_state_dict(other.state_dict())
    for mine, theirs in zip(trained.train().parameters(), other.parameters(), strict=True):
        mine.data.copy_(theirs.data)
    with torch.no_grad():
        expected = other(x, edge_weight=weight)
        assert_close(loaded(x, edge_weight=weight), expected)
        assert_close(trained.eval()(x, edge_weight=weight), expected)


def test_traced_by_fx_with_symbolic_sizes() -> None:
    x, pos, _ = random_landmarks(2, K, C)
    conv, weight = DenseLGCNConv(C, 3), torch.rand(2, K, K)

    def call(x: Tensor, pos: Tensor, weight: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        out = torch.func.functional_call(conv, parameters, (x, pos), {"edge_weight": weight})
        assert isinstance(out, Tensor)
        return out

    given = (x, pos, weight, {name: value.detach() for name, value in conv.named_parameters()})
    assert_close(make_fx(call, tracing_mode="symbolic")(*given)(*given), conv(x, pos, edge_weight=weight))


def test_bad_input() -> None:
    x, pos, confidence = random_landmarks(2, K, C)
    conv = DenseLGCNConv(C, 3, LearnableConnectivity(K))
    with pytest.raises(InputError, match=r"'x' to have shape \[B, K, C\] with C=4 \(got \[2, 6, 3\]\)"):
        conv(x[..., :3], pos, confidence)
    with pytest.raises(InputError, match=r"'x' to have shape \[B, K, C\] with C=4 \(got \[6, 4\]\)"):
        conv(x[0], pos[0], confidence[0])
    with pytest.raises(InputError, match=r"'pos' \[B, K, 2\] for shape features .*shape_features=False"):
        conv(x, None, confidence)
    with pytest.raises(InputError, match=r"'pos' to have shape \[B, K, 2\] with B=2, K=6 \(got \[1, 6, 2\]\)"):
        conv(x, pos[:1], confidence)
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with B=2, K=6 \(got \[1, 6\]\)"):
        conv(x, pos, confidence[:1])
    with pytest.raises(InputError, match=r"'confidence' to have shape \[B, K\] with K=6 \(got \[2, 5\]\)"):
        conv(x[:, :5], pos[:, :5], confidence[:, :5])
    with pytest.raises(InputError, match=r"'mask' to have shape \[B, K\] with B=2, K=6 \(got \[2, 5\]\)"):
        conv(x, pos, confidence, mask=torch.ones(2, 5, dtype=torch.bool))
    for layer, given in ((conv, {}), (DenseLGCNConv(C, 3), {"confidence": confidence})):
        with pytest.raises(InputError, match=r"'edge_weight' \[B, K, K\], or a connectivity and 'confidence'"):
            layer(x, pos, **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", [{}, {"shape_features": False}, {"bias": False}])
def test_equals_the_literal_transcription(options: dict[str, bool], dtype: torch.dtype) -> None:
    landmarks = random_landmarks(3, K, C, dtype)
    conv = build(LearnableConnectivity(K), dtype, **options)
    literal = literal_of(conv)
    batch = landmarks.graph()
    expected = literal(batch.x, batch.pos, batch.confidence, batch.edge_index, batch.landmark_id).view(3, K, 3)
    out = conv(*landmarks)
    assert_close(out, expected)

    target = torch.randn_like(expected)
    for prediction in (out, expected):
        (prediction - target).square().mean().backward()
    assert_same_gradients(conv, literal)


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
@pytest.mark.parametrize("shape_features", [True, False])
def test_equals_the_sparse_layer(name: str, shape_features: bool) -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    conv = build(build_connectivity(name, K), shape_features=shape_features)
    assert_close(conv(*landmarks), run_sparse(sparse_twin(conv), landmarks).view(3, K, 3))


@pytest.mark.parametrize("name", CONNECTIVITIES.names())
def test_masked_equals_dropped(name: str) -> None:
    landmarks = random_landmarks(4, K, C, torch.float64)
    mask = torch.rand(4, K) < 0.6
    mask[2], mask[3] = False, torch.arange(K) == 1  # nobody there; one landmark alone
    conv = build(build_connectivity(name, K))
    out = conv(*landmarks, mask=mask)
    assert_close(out[mask], run_sparse(sparse_twin(conv), landmarks, mask))
    assert out[~mask].eq(0).all()


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["learnable", "adjacency"])
def test_faces_may_lie_anywhere(name: str, masked: bool) -> None:
    landmarks = random_landmarks(3, K, C)
    offsets = torch.tensor([1000.0, 7000.0, -900.0]).view(3, 1, 1)
    landmarks = landmarks._replace(pos=50 * landmarks.pos + offsets)
    mask = torch.rand(3, K) < 0.7 if masked else None
    raw = {"normalization": "raw"} if name == "adjacency" else {}
    for channels in (3, 64):  # the sums first, and the products first
        for grad in (True, False):
            conv = randomize(DenseLGCNConv(C, channels, build_connectivity(name, K, **raw)))
            exact = copy.deepcopy(conv).double()(*(each.double() for each in landmarks), mask=mask)
            with torch.set_grad_enabled(grad):
                assert_close(conv(*landmarks, mask=mask), exact.float())


def test_a_landmark_alone_keeps_only_itself() -> None:
    landmarks = random_landmarks(2, K, C, torch.float64)
    conv = build(LearnableConnectivity(K))
    mask = (torch.arange(K) == 1).expand(2, K)
    assert_close(conv(*landmarks, mask=mask)[:, 1], conv.lin_self(landmarks.x[:, 1]))
    conv = build(LearnableConnectivity(1))
    landmarks = random_landmarks(2, 1, C, torch.float64)
    assert_close(conv(*landmarks), conv.lin_self(landmarks.x))


def test_batch_equals_loop() -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    conv = build(LearnableConnectivity(K))
    loop = [conv(*(tensor[image : image + 1] for tensor in landmarks)) for image in range(3)]
    assert_close(conv(*landmarks), torch.cat(loop))
    assert conv(*(tensor[:0] for tensor in landmarks)).shape == (0, K, 3)


def test_one_matrix_of_weights_serves_all_images() -> None:
    landmarks = random_landmarks(3, K, C, torch.float64)
    weight = torch.rand(K, K, dtype=torch.float64)
    conv = build(None)
    expected = conv(landmarks.x, landmarks.pos, edge_weight=weight.expand(3, K, K))
    assert_close(conv(landmarks.x, landmarks.pos, edge_weight=weight), expected)
    one = conv(landmarks.x[:1], landmarks.pos[:1], edge_weight=weight)[0, 0]
    q = landmarks.pos[0, 0] - landmarks.pos[0]
    messages = conv.lin_neighbor(torch.cat([landmarks.x[0], q], dim=-1))
    assert_close(one, conv.lin_self(landmarks.x[0, 0]) + weight[0] @ messages)


def test_gradcheck() -> None:
    landmarks = random_landmarks(2, 4, C, torch.float64, requires_grad=True)
    conv = build(LearnableConnectivity(4, 4, 4, 4))
    names = [name for name, _ in conv.named_parameters()]
    mask = torch.tensor([[True, True, False, True], [True, True, True, True]])

    def layer(x: Tensor, pos: Tensor, confidence: Tensor, *parameters: Tensor) -> Tensor:
        arguments = (x, pos, confidence, None, mask)
        return torch.func.functional_call(conv, dict(zip(names, parameters, strict=True)), arguments)

    assert torch.autograd.gradcheck(layer, (*landmarks, *conv.parameters()), fast_mode=True)


def test_reset_parameters_is_reproducible_and_the_sparse_layer_s() -> None:
    connectivity = LearnableConnectivity(K)
    dense, sparse = DenseLGCNConv(C, 3, connectivity), LGCNConv(C, 3, LearnableConnectivity(K))
    states = []
    for conv in (dense, dense, sparse):
        torch.manual_seed(3)
        conv.reset_parameters()
        states.append(copy.deepcopy(conv.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert torch.equal(value, states[2][key])


def test_copies() -> None:
    landmarks = random_landmarks(2, K, C)
    conv = build(LearnableConnectivity(K), torch.float32)
    loaded = DenseLGCNConv(C, 3, LearnableConnectivity(K))
    loaded.load_state_dict(conv.state_dict())
    for other in (loaded, copy.deepcopy(conv), pickle.loads(pickle.dumps(conv))):
        assert torch.equal(other(*landmarks), conv(*landmarks))


def test_compiles_in_one_graph_for_any_number_of_images() -> None:
    conv = build(LearnableConnectivity(K), torch.float32)
    compiled = torch.compile(conv, fullgraph=True, dynamic=True, backend="aot_eager")
    for images in (2, 5):
        landmarks = random_landmarks(images, K, C)
        mask = torch.rand(images, K) < 0.7
        assert_close(compiled(*landmarks, mask=mask), conv(*landmarks, mask=mask))
