"""All parameters, or all gradients, as one flat tensor."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from adapting import stir
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, distribute_tensor

from backbones import tiny_backbone, tiny_backbone_inputs
from fixtures import tiny_inputs, tiny_model
from mt_transformers import Backbone, MultiTaskModel
from mt_transformers.backbone import FlatParametersMixin
from mt_transformers.errors import InputError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
# integers are those of quantized weights
DTYPES = (*FLOATS, torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8, torch.int32)


class Held(FlatParametersMixin):
    """Any parameters, one after the other."""

    def __init__(self, values: Sequence[torch.Tensor], frozen: Sequence[bool] = ()) -> None:
        super().__init__()
        self.held = nn.ParameterList()
        for number, value in enumerate(values):
            is_frozen = number < len(frozen) and frozen[number]
            self.held.append(nn.Parameter(value, requires_grad=value.dtype in FLOATS and not is_frozen))


def any_values(shape: tuple[int, ...], dtype: torch.dtype, seed: int) -> torch.Tensor:
    """Numbers of a dtype: of whole numbers all bits, of others about as many digits as it has."""
    generator = torch.Generator().manual_seed(seed)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    info = torch.iinfo(dtype)
    return torch.randint(info.min, info.max, shape, generator=generator, dtype=torch.int64).to(dtype)


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two tensors have the same dtype, shape and bits."""
    kept = one.dtype == other.dtype and one.shape == other.shape
    return kept and torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


@st.composite
def held(draw: st.DrawFn, dtypes: Sequence[torch.dtype] = DTYPES) -> Held:
    """Parameters of any shapes and dtypes, some of them frozen."""
    shapes = draw(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple), max_size=5))
    values = [any_values(shape, draw(st.sampled_from(dtypes)), seed=number) for number, shape in enumerate(shapes)]
    return Held(values, [draw(st.booleans()) for _ in values])


def test_the_order_is_that_of_named_parameters() -> None:
    module = Held([torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(5.0)])
    assert module.get_params().tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    module.set_params(torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0]))
    assert module.held[0].tolist() == [[5.0, 4.0], [3.0, 2.0]]
    assert module.held[1].item() == 1.0


@given(held(), st.booleans())
def test_parameters_come_back_to_the_bit(module: Held, trainable_only: bool) -> None:
    before = [each.detach().clone() for each in module.parameters()]
    objects = list(module.parameters())
    flat = module.get_params(trainable_only=trainable_only)
    chosen = [each for each in module.parameters() if each.requires_grad or not trainable_only]
    assert flat.shape == (sum(each.numel() for each in chosen),)
    assert not flat.requires_grad
    with torch.no_grad():
        for each in chosen:
            each.copy_(torch.ones_like(each))
    module.set_params(flat, trainable_only=trainable_only)
    assert all(each is other for each, other in zip(module.parameters(), objects, strict=True))
    assert all(map(same_bits, module.parameters(), before))


@given(held(FLOATS), st.data())
def test_gradients_come_back_to_the_bit(module: Held, data: st.DataObject) -> None:
    trained = [each for each in module.parameters() if each.requires_grad]
    for number, each in enumerate(trained):
        if data.draw(st.booleans()):
            each.grad = any_values(tuple(each.shape), each.dtype, seed=number)
    gradients = [torch.zeros_like(each) if each.grad is None else each.grad.clone() for each in module.parameters()]
    assert all(map(same_bits, module.get_grads_list(), gradients))
    for trainable_only in (False, True):
        flat = module.get_grads(trainable_only=trainable_only)
        module.zero_grad()
        module.set_grads(flat, trainable_only=trainable_only)
        assert all(map(same_bits, module.get_grads_list(), gradients))
        assert all(each.grad is not None for each in trained)


@pytest.mark.parametrize(
    ("dtypes", "common"),
    [
        ([torch.bfloat16], torch.bfloat16),
        ([torch.float16, torch.bfloat16], torch.float32),
        ([torch.bfloat16, torch.float64], torch.float64),
        ([torch.float8_e4m3fn, torch.bfloat16], torch.float32),
        ([torch.float8_e4m3fn, torch.float8_e5m2], torch.float32),
        ([torch.int8, torch.bfloat16], torch.float64),
        ([torch.int8, torch.uint8], torch.int16),
    ],
)
def test_several_dtypes_come_to_one_that_holds_all(dtypes: list[torch.dtype], common: torch.dtype) -> None:
    assert Held([torch.ones(1).to(dtype) for dtype in dtypes]).get_params().dtype == common


def test_what_is_read_is_a_copy() -> None:
    module = Held([torch.tensor([1.0, 2.0])])
    module.held[0].grad = torch.tensor([3.0, 4.0])
    read = [module.get_params(), module.get_grads(), *module.get_grads_list()]
    module.set_params(torch.zeros(2))
    module.zero_grad(set_to_none=False)
    assert [each.tolist() for each in read] == [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]]


def test_what_is_written_is_a_copy() -> None:
    module, flat = Held([torch.zeros(2)]), torch.tensor([1.0, 2.0], requires_grad=True)
    module.set_params(flat)
    module.set_grads(flat)
    with torch.no_grad():
        flat.mul_(10)
    assert module.held[0].tolist() == [1.0, 2.0]
    assert module.held[0].is_leaf
    assert module.held[0].requires_grad
    gradient = module.held[0].grad
    assert gradient is not None
    assert gradient.tolist() == [1.0, 2.0]
    assert not gradient.requires_grad


def test_frozen_parameters_count_and_get_no_gradient() -> None:
    module = Held([torch.zeros(1), torch.zeros(2)], frozen=[True, False])
    module.set_grads(torch.tensor([1.0, 2.0, 3.0]))
    assert module.held[0].grad is None
    assert module.get_grads().tolist() == [0.0, 2.0, 3.0]
    assert module.get_grads(trainable_only=True).tolist() == [2.0, 3.0]
    module.set_grads(torch.tensor([4.0, 5.0]), trainable_only=True)
    assert module.get_grads().tolist() == [0.0, 4.0, 5.0]
    assert [each.tolist() for each in module.get_grads_list(trainable_only=True)] == [[4.0, 5.0]]


def test_sparse_gradients_become_dense() -> None:
    module = Held([])
    module.embeddings = nn.Embedding(3, 2, sparse=True)
    (module.embeddings(torch.tensor([1, 1])) * torch.tensor([3.0, 4.0])).sum().backward()
    assert module.get_grads().tolist() == [0.0, 0.0, 6.0, 8.0, 0.0, 0.0]
    assert module.get_grads_list()[0].layout == torch.strided
    module.set_grads(torch.arange(6.0))
    assert module.get_grads().tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_nothing_is_an_empty_tensor() -> None:
    module = Held([torch.zeros(1)], frozen=[True])
    for flat in (module.get_params(trainable_only=True), module.get_grads(trainable_only=True)):
        assert flat.shape == (0,)
        module.set_params(flat, trainable_only=True)
        module.set_grads(flat, trainable_only=True)


@pytest.mark.parametrize("name", ["set_params", "set_grads"])
@pytest.mark.parametrize(
    ("shape", "found"),
    [((2,), "2"), ((4,), "4"), ((3, 1), "one of shape (3, 1) (3 values)"), ((), "one of shape () (1 values)")],
)
def test_another_shape_is_refused_with_both_lengths(name: str, shape: tuple[int, ...], found: str) -> None:
    module = Held([torch.zeros(1), torch.zeros(2)])
    with pytest.raises(InputError, match=f"^{name}: expected a flat tensor of 3 values, found {re.escape(found)}.$"):
        getattr(module, name)(torch.ones(shape))
    assert module.get_params().tolist() == [0.0] * 3
    assert module.held[0].grad is None


@pytest.mark.gpu
def test_several_devices_come_to_the_first() -> None:
    module = Held([torch.tensor([1.0]).cuda(), torch.tensor([2.0])])
    flat = module.get_params()
    assert flat.device == module.held[0].device
    module.set_params(flat.cpu() * 2)
    module.set_grads(flat)
    assert module.get_params().tolist() == [2.0, 4.0]
    assert [each.device.type for each in module.get_grads_list()] == ["cuda", "cpu"]


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_sharded_parameters_are_refused_by_name() -> None:
    module = Held([torch.zeros(1), torch.zeros(2)], frozen=[False, True])
    mesh = init_device_mesh("cpu", (1,))
    module.held[1] = nn.Parameter(distribute_tensor(torch.zeros(2), mesh, [Replicate()]), requires_grad=False)
    message = r"^parameter 'held.1' is sharded over processes .*: expected whole parameters\. Train with DDP"
    calls: list[Any] = [module.get_params, module.get_grads, module.get_grads_list]
    calls += [lambda: module.set_params(torch.zeros(3)), lambda: module.set_grads(torch.zeros(3))]
    for call in calls:
        with pytest.raises(InputError, match=message):
            call()
    assert module.get_params(trainable_only=True).tolist() == [0.0]


# ------------------------------------------------------------------------------------------------------------------
# backbones and models


def test_tied_parameters_stand_once() -> None:
    backbone = tiny_backbone("t5")
    model = backbone.model
    assert model.shared.weight is model.encoder.embed_tokens.weight
    whole = sum(each.numel() for each in set(backbone.parameters()))
    assert backbone.get_params().shape == (whole,)
    assert sum(value.numel() for value in backbone.state_dict().values()) > whole
    backbone.set_params(torch.arange(whole, dtype=torch.float64))
    assert model.encoder.embed_tokens.weight is model.shared.weight
    assert torch.equal(backbone.get_params(), torch.arange(whole, dtype=torch.float64))


def test_a_head_over_the_vocabulary_adds_no_second_embeddings() -> None:
    model = tiny_model({"mlm": {"head_type": "masked_language_modeling", "mask_token_id": 4}})
    own = sum(each.numel() for each in model.heads.parameters())
    assert len(model.get_params()) == len(model.backbone.get_params()) + own


def test_a_model_is_its_backbone_and_its_heads() -> None:
    model = tiny_model()
    names = [name for name, _ in model.named_parameters()]
    assert names[0].startswith("backbone.")
    assert names[-1].startswith("heads.stars.")
    flat = model.get_params()
    assert torch.equal(flat, torch.cat([each.detach().flatten() for each in model.parameters()]))
    assert torch.equal(flat[: len(model.backbone.get_params())], model.backbone.get_params())


def test_a_models_answers_follow_its_flat_parameters() -> None:
    one, other = tiny_model(), tiny_model()
    inputs = tiny_inputs()
    assert not torch.equal(one(**inputs)["intent_logits"], other(**inputs)["intent_logits"])
    other.set_params(one.get_params())
    assert torch.equal(one(**inputs)["intent_logits"], other(**inputs)["intent_logits"])


def test_a_projected_gradient_is_stepped_along() -> None:
    """A-GEM's use of it: what is set is what the optimizer takes."""
    model = tiny_model()
    model(**tiny_inputs(), labels={"intent": torch.tensor([0, 1, 2, 0])})["loss"].backward()
    gradient = model.get_grads()
    reference = torch.linspace(-1, 1, len(gradient))
    projected = gradient - gradient.dot(reference) / reference.dot(reference) * reference
    before = model.get_params()
    model.set_grads(projected)
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    trained = torch.cat([torch.full((each.numel(),), each.requires_grad) for each in model.parameters()])
    assert torch.equal(model.get_params(), torch.where(trained, before - projected, before))


@pytest.mark.parametrize("family", ["albert", "bart", "clip", "resnet", "wav2vec2"])
def test_backbones_of_any_kind_come_back(family: str) -> None:
    backbone, inputs = tiny_backbone(family), tiny_backbone_inputs(family)
    expected = backbone(**inputs)
    flat = backbone.get_params()
    backbone.set_params(torch.zeros_like(flat))
    assert not backbone.get_params().any()
    backbone.set_params(flat)
    found: dict[str, torch.Tensor] = backbone(**inputs)
    assert all(torch.equal(found[name], value) for name, value in expected.items() if torch.is_tensor(value))


def test_with_an_adapter_what_is_trained_is_the_adapter_and_the_heads() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model()
    adapted: Any = stir(peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["query"])))
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    assert any("lora_A" in name for name in trained)
    assert any("modules_to_save" in name for name in trained)
    flat = adapted.get_params(trainable_only=True)
    assert torch.equal(flat, torch.cat([each.detach().flatten() for each in trained.values()]))
    inputs = tiny_inputs()
    expected, whole = adapted(**inputs)["intent_logits"], model.get_params()
    model.set_params(torch.zeros_like(flat), trainable_only=True)
    assert not adapted(**inputs)["intent_logits"].any()
    model.set_params(flat, trainable_only=True)
    assert torch.equal(adapted(**inputs)["intent_logits"], expected)
    assert torch.equal(model.get_params(), whole)
    assert 0 < len(model.backbone.get_params(trainable_only=True)) < len(flat) < len(whole)


@pytest.mark.parametrize("owner", [Backbone, MultiTaskModel])
def test_who_has_it(owner: type) -> None:
    assert issubclass(owner, FlatParametersMixin)
