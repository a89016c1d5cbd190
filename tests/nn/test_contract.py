"""What every form of a layer and of a stack promises; see contract.py for the forms."""

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from lgcn.nn import LearnableConnectivity, for_inference
from tests.nn.contract import (
    CHANNELS,
    EAGER,
    FORMS,
    TRAINED,
    C,
    Form,
    K,
    literal_of,
    run_dropped,
    run_literal,
)
from tests.nn.inputs import (
    CONNECTIVITIES,
    Landmarks,
    assert_close,
    assert_same_gradients,
    build_connectivity,
    random_landmarks,
    randomize,
)

all_forms = pytest.mark.parametrize("form", FORMS.values(), ids=list(FORMS))
eager_forms = pytest.mark.parametrize("form", EAGER.values(), ids=list(EAGER))
trained_forms = pytest.mark.parametrize("form", TRAINED.values(), ids=list(TRAINED))
MASK = torch.tensor([[1, 0, 1, 1, 0, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()


def far(landmarks: Landmarks) -> Landmarks:
    """Images of 50 pixels, each elsewhere."""
    offsets = torch.linspace(-900.0, 7000.0, len(landmarks.pos), dtype=landmarks.pos.dtype)
    return landmarks._replace(pos=50 * landmarks.pos + offsets.view(-1, 1, 1))


def double(landmarks: Landmarks) -> Landmarks:
    return Landmarks(*(tensor.double() for tensor in landmarks))


@all_forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_literal_transcription(form: Form, dtype: torch.dtype) -> None:
    module, landmarks = form.build().to(dtype), random_landmarks(3, K, C, dtype)
    literal = literal_of(module, form.channels)
    out, expected = form.run(module, landmarks), run_literal(literal, landmarks)
    assert out.dtype == dtype
    assert_close(out, expected)
    if form.trains:
        target = torch.randn_like(expected)
        for prediction in (out, expected):
            (prediction - target).square().mean().backward()
        assert_same_gradients(module, literal)


@eager_forms
@pytest.mark.parametrize("options", [{"shape_features": False}, {"bias": False}], ids=["no-shape", "no-bias"])
def test_options_equal_the_literal_transcription(form: Form, options: dict[str, Any]) -> None:
    module, landmarks = form.build(**options).double(), random_landmarks(3, K, C, torch.float64)
    assert_close(form.run(module, landmarks), run_literal(literal_of(module, form.channels, **options), landmarks))


@all_forms
def test_a_missing_landmark_is_as_if_it_did_not_exist_and_is_not_read(form: Form) -> None:
    module, landmarks = form.build().double(), random_landmarks(4, K, C, torch.float64)
    hidden = Landmarks(
        landmarks.x.masked_fill(~MASK.unsqueeze(-1), torch.nan),
        landmarks.pos.masked_fill(~MASK.unsqueeze(-1), torch.nan),
        landmarks.confidence.masked_fill(~MASK, torch.nan),
    )
    out = form.run(module, hidden, MASK)
    assert_close(out, run_dropped(literal_of(module, form.channels), landmarks, MASK))
    assert out[~MASK].eq(0).all()
    if form.trains:
        out.square().sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in module.parameters())


@all_forms
def test_a_batch_equals_a_loop_and_may_be_empty(form: Form) -> None:
    module, landmarks = form.build().double(), random_landmarks(3, K, C, torch.float64)
    prepared = form.prepare(module)
    together = form.call(prepared, landmarks)
    loop = [form.call(prepared, Landmarks(*(tensor[image, None] for tensor in landmarks))) for image in range(3)]
    assert_close(together, torch.cat(loop))
    if form in EAGER.values() and form.dense:
        assert form.run(module, Landmarks(*(tensor[:0] for tensor in landmarks))).shape == (0, K, form.channels[-1])


@eager_forms
@pytest.mark.parametrize("masked", [False, True])
def test_positions_far_from_the_origin_do_not_affect_precision(form: Form, masked: bool) -> None:
    module, landmarks = form.build(), far(random_landmarks(4, K, C))
    mask = MASK if masked else None
    exact = form.run(copy.deepcopy(module).double(), double(landmarks), mask)
    assert_close(form.run(module, landmarks, mask), exact.float())


@eager_forms
def test_positions_may_have_a_higher_precision_than_features(form: Form) -> None:
    module, landmarks = form.build(), random_landmarks(3, K, C)
    out = form.run(module, landmarks._replace(pos=landmarks.pos.double()))
    assert out.dtype == torch.float32
    assert_close(out, form.run(module, landmarks))


@eager_forms
def test_autocast_rounds_neither_scores_nor_positions(form: Form) -> None:
    module, landmarks = form.build(), far(random_landmarks(3, K, C))
    near = landmarks._replace(pos=landmarks.pos - landmarks.pos.amin(dim=(1, 2), keepdim=True).floor())
    prepared = form.prepare(module)
    expected = form.call(prepared, landmarks)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one, other = (form.call(prepared, each).float() for each in (landmarks, near))
    scale = expected.detach().abs().max()
    assert (one - other).abs().max() < 0.005 * scale
    assert (one - expected).abs().max() < 0.03 * scale
    assert torch.equal(form.call(prepared, landmarks), expected)


@trained_forms
def test_training_under_autocast_and_in_bfloat16(form: Form) -> None:
    module, landmarks = form.build(), random_landmarks(3, K, C)
    expected = torch.autograd.grad(form.run(module, landmarks).square().sum(), list(module.parameters()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = form.run(module, landmarks)
    gradients = torch.autograd.grad(out.float().square().sum(), list(module.parameters()))
    one, other = (torch.cat([each.flatten() for each in several]) for several in (gradients, expected))
    assert torch.cosine_similarity(one, other, dim=0) > 0.95
    half = copy.deepcopy(module).bfloat16()
    out = form.run(half, Landmarks(*(tensor.bfloat16() for tensor in landmarks)))
    assert out.dtype == torch.bfloat16
    assert (out.float() - form.run(module, landmarks)).abs().max() < 0.05 * form.run(module, landmarks).abs().max()


@eager_forms
@pytest.mark.parametrize("name", CONNECTIVITIES)
def test_every_connectivity_gives_the_same_in_every_form(form: Form, name: str) -> None:
    landmarks = random_landmarks(4, K, C, torch.float64)
    for mask in (None, MASK):
        torch.manual_seed(0)
        module = form.build(build_connectivity(name, K)).double()
        reference = TRAINED[f"Batched-{len(form.channels)}"]
        torch.manual_seed(0)
        same = reference.build(build_connectivity(name, K)).double()
        assert_close(form.run(module, landmarks, mask), reference.run(same, landmarks, mask))


@trained_forms
@pytest.mark.parametrize("name", CONNECTIVITIES)
def test_gradients_of_all_inputs_and_parameters(form: Form, name: str) -> None:
    options = {} if len(form.channels) == 1 else {"act": "tanh"}
    module = form.build(build_connectivity(name, K), **options).double()
    landmarks = random_landmarks(2, K, C, torch.float64, requires_grad=True)
    names = [name for name, _ in module.named_parameters()]

    def call(x: Tensor, pos: Tensor, confidence: Tensor, *parameters: Tensor) -> Tensor:
        given = dict(zip(names, parameters, strict=True))
        functional = lambda *args, **kwargs: torch.func.functional_call(module, given, args, kwargs)  # noqa: E731
        return form.call(functional, Landmarks(x, pos, confidence), MASK[:2])

    assert torch.autograd.gradcheck(call, (*landmarks, *module.parameters()), fast_mode=True)


@trained_forms
def test_states_pass_between_the_forms(form: Form) -> None:
    module, landmarks = form.build().double(), random_landmarks(3, K, C, torch.float64)
    for other in TRAINED.values():
        if other.channels == form.channels:
            loaded = other.build().double()
            loaded.load_state_dict(module.state_dict())
            assert_close(other.run(loaded, landmarks), form.run(module, landmarks))


@eager_forms
def test_copies(form: Form) -> None:
    prepared, landmarks = form.prepare(form.build()), random_landmarks(3, K, C)
    expected = form.call(prepared, landmarks)
    buffer = io.BytesIO()
    torch.save(prepared, buffer)
    buffer.seek(0)
    copies = [copy.deepcopy(prepared), pickle.loads(pickle.dumps(prepared)), torch.load(buffer, weights_only=False)]
    for each in copies:
        assert torch.equal(form.call(each, landmarks), expected)
        for tensor in (*each.parameters(), *each.buffers()):
            tensor.data.zero_()
    assert torch.equal(form.call(prepared, landmarks), expected)


@trained_forms
def test_parameters_are_reset_and_alike_under_a_seed(form: Form) -> None:
    module, states = form.build(), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        module.reset_parameters()
        states.append(copy.deepcopy(module.state_dict()))
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
        assert not torch.equal(value, states[2][key])


@eager_forms
def test_the_module_for_inference_follows_no_change_of_its_source(form: Form) -> None:
    module, landmarks = form.build(), random_landmarks(3, K, C)
    inference = for_inference(module)
    expected = form.call(inference, landmarks)
    assert not inference.training and not any(parameter.requires_grad for parameter in inference.parameters())
    randomize(module)
    assert torch.equal(form.call(inference, landmarks), expected)
    assert (form.call(module, landmarks) - expected).abs().max() > 1e-3
    double_precision = inference.double()
    assert_close(form.call(double_precision, double(landmarks)).float(), expected)


@trained_forms
def test_the_number_of_input_channels_may_be_left_to_the_first_input(form: Form) -> None:
    landmarks = random_landmarks(2, K, C)
    kind = type(form.build())
    channels = form.channels[0] if len(form.channels) == 1 else form.channels
    lazy = kind(-1, channels, LearnableConnectivity(K))
    out = form.run(lazy, landmarks)
    assert out.shape == (2, K, form.channels[-1])
    known = kind(C, channels, LearnableConnectivity(K))
    known.load_state_dict(lazy.state_dict())
    assert torch.equal(form.run(known, landmarks), out)
    loaded = kind(-1, channels, LearnableConnectivity(K))
    loaded.load_state_dict(known.state_dict())
    assert torch.equal(form.run(loaded, landmarks), out)


def test_stacks_in_the_size_of_the_paper() -> None:
    assert CHANNELS != (64, 16, 2)
    from lgcn.nn import DenseLGCN
    from tests.nn.literal import LiteralConnectivity, LiteralLGCN

    landmarks = random_landmarks(2, 98, 66)
    dense = DenseLGCN(66, (64, 16, 2), LearnableConnectivity(98))
    literal = LiteralLGCN(66, (64, 16, 2), LiteralConnectivity(98))
    literal.load_state_dict(dense.state_dict())
    expected = run_literal(literal, landmarks)
    assert_close(dense(*landmarks), expected)
    with torch.no_grad():
        assert_close(for_inference(dense)(*landmarks), expected)
    assert_close(TRAINED["Batched-2"].call(dense.to_sparse(), landmarks), expected)
