"""The pool of prompts: what a row takes, and what the backbone makes of it."""

from __future__ import annotations

import pytest
import torch

from fixtures import tiny_inputs, tiny_model
from mt_transformers.continual.strategies.prompt_pool import PromptPool, prompted
from mt_transformers.errors import InputError


def double_pool(pool_size: int = 5, length: int = 2, top_k: int = 3, size: int = 32) -> PromptPool:
    generator = torch.Generator().manual_seed(0)
    keys = torch.randn(pool_size, size, generator=generator).double()
    return PromptPool(keys, torch.randn(pool_size, length, size, generator=generator).double(), top_k)


def test_a_row_takes_the_prompts_of_the_nearest_keys() -> None:
    """Equation 3, written out: cosine distance, the top ones, each row for itself."""
    pool = double_pool()
    queries = torch.randn(7, 32, generator=torch.Generator().manual_seed(1)).double()
    prompts, summed = pool(queries)
    for query, found, distance in zip(queries, prompts, summed, strict=True):
        distances = [1 - (query @ key / query.norm() / key.norm()).item() for key in pool.keys]
        nearest = sorted(range(5), key=lambda number, distances=distances: distances[number])[:3]
        assert torch.equal(found, torch.cat([pool.prompts[number] for number in nearest]))
        assert distance.item() == pytest.approx(sum(distances[number] for number in nearest))


@pytest.mark.parametrize("with_mask", [True, False])
def test_the_backbone_reads_a_row_behind_its_prompts(with_mask: bool) -> None:
    """Against the bare transformer on embeddings that were put together by hand, and its gradients."""
    model, pool = tiny_model().double(), double_pool()
    backbone, bert = model.backbone, model.backbone.model
    inputs = tiny_inputs()
    inputs = {name: inputs[name] for name in ("input_ids", "attention_mask") if with_mask or name == "input_ids"}
    distances: list[torch.Tensor] = []
    with prompted(backbone, pool, distances):
        found = backbone(**inputs, layers=True)
    assert found["encoded_text"].shape == (4, 6, 32)
    plain = backbone(**inputs)
    assert torch.equal(found["encoded_text_mask"], plain["encoded_text_mask"])
    assert torch.equal(found["token_ids"], inputs["input_ids"])
    assert torch.equal(found["text_layers"][-1], found["encoded_text"])
    weights = plain["encoded_text_mask"].double().unsqueeze(2)
    queries = (plain["encoded_text"] * weights).sum(1) / weights.sum(1)
    prompts, expected_distances = pool(queries.detach())
    embedded = torch.cat([prompts, bert.embeddings.word_embeddings(inputs["input_ids"])], dim=1)
    mask = torch.cat([torch.ones(4, 6), plain["encoded_text_mask"]], dim=1)
    expected = bert(inputs_embeds=embedded, attention_mask=mask).last_hidden_state[:, 6:]
    torch.testing.assert_close(found["encoded_text"], expected)
    torch.testing.assert_close(distances[0], expected_distances)
    gradients = [
        torch.autograd.grad(each.square().sum(), pool.prompts)[0] for each in (found["encoded_text"], expected)
    ]
    torch.testing.assert_close(*gradients)
    assert gradients[0].abs().sum() > 0


def test_afterwards_the_backbone_is_as_it_was() -> None:
    model, pool = tiny_model().double(), double_pool()
    inputs = tiny_inputs()
    before = model.backbone(input_ids=inputs["input_ids"])["encoded_text"]
    with pytest.raises(KeyboardInterrupt), prompted(model.backbone, pool, []):
        raise KeyboardInterrupt
    assert torch.equal(model.backbone(input_ids=inputs["input_ids"])["encoded_text"], before)


def test_the_query_knows_no_dropout() -> None:
    """Dropout of the backbone does not change which prompts a row takes, and stays on for what is trained."""
    model, pool = tiny_model().double(), double_pool()
    model.train()
    inputs, seen = {"input_ids": tiny_inputs()["input_ids"]}, []
    for _ in range(2):
        distances: list[torch.Tensor] = []
        with prompted(model.backbone, pool, distances):
            encoded = model.backbone(**inputs)["encoded_text"]
        seen.append((distances[0], encoded))
    assert torch.equal(seen[0][0], seen[1][0])
    assert not torch.equal(seen[0][1], seen[1][1])
    assert all(module.training for module in model.modules())


def test_embeddings_instead_of_ids_are_refused() -> None:
    model = tiny_model()
    with (
        prompted(model.backbone, double_pool().float(), []),
        pytest.raises(InputError, match="expected input_ids, before which"),
    ):
        model.backbone(inputs_embeds=torch.zeros(1, 2, 32))
