"""The JSON API under many clients at once, and after what no client should send."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from itertools import islice, product
from threading import Barrier
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import pytest

from fixtures import CITIES, GOOD, NOUNS, SINGERS
from mt_transformers.inference import MultiTaskPredictor

pytest.importorskip("gradio")

CLIENTS, REQUESTS = 16, 50
SECONDS = 120
TEXTS = [
    " ".join(words)
    for words in islice(product(NOUNS, SINGERS, ["", "in the", "by", "new"], CITIES, GOOD), CLIENTS * REQUESTS)
]


class Client:
    """One connection to the API, as curl makes it."""

    def __init__(self, page: str) -> None:
        self._connection = HTTPConnection(urlsplit(page).netloc, timeout=SECONDS)

    def send(self, body: str) -> tuple[int, Any]:
        """Status and JSON of the answer to a body."""
        headers = {"Content-Type": "application/json"}
        self._connection.request("POST", "/gradio_api/run/predict", body.encode("utf-8", "surrogatepass"), headers)
        response = self._connection.getresponse()
        return response.status, json.loads(response.read())

    def predict(self, *data: Any) -> Any:
        """What the API returns; all parameters are sent, None for those that are left out."""
        status, answer = self.send(json.dumps({"data": [*data, *[None] * (3 - len(data))]}))
        assert status == 200, answer
        return answer["data"][0]

    def error(self, *data: Any) -> str:
        """The message for what cannot be used."""
        status, answer = self.send(json.dumps({"data": [*data, *[None] * (3 - len(data))]}))
        assert status == 500
        message: str = answer["error"]
        return message

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


@pytest.fixture
def client(page: str) -> Iterator[Client]:
    with closing(Client(page)) as client:
        yield client


def same(one: Any, other: Any) -> bool:
    """Equal but for the last digits of scores."""
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other, strict=True))
    return one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other)


def test_many_clients_at_once_get_their_own_answers(page: str, predictor: MultiTaskPredictor) -> None:
    assert len(set(TEXTS)) == CLIENTS * REQUESTS
    expected = dict(zip(TEXTS, predictor(TEXTS), strict=True))
    together = Barrier(CLIENTS)

    def work(number: int) -> list[tuple[str, Any]]:
        with closing(Client(page)) as client:
            together.wait(SECONDS)
            return [(text, client.predict(text)) for text in TEXTS[number::CLIENTS]]

    started = perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = [pair for pairs in pool.map(work, range(CLIENTS)) for pair in pairs]
    assert perf_counter() - started < SECONDS
    assert {text for text, _ in found} == set(TEXTS)
    for text, answer in found:
        assert same(answer["answers"], expected[text]), text
        assert answer["tokens"] == [["[CLS]", *text.split(), "[SEP]"]]
        assert answer["errors"] == {}


def test_an_answer_has_all_heads_the_tokens_and_the_time(client: Client, predictor: MultiTaskPredictor) -> None:
    answer = client.predict("play music by adele")
    assert set(answer) == {"answers", "errors", "tokens", "milliseconds"}
    assert same(answer["answers"], predictor(["play music by adele"])[0])
    assert answer["tokens"] == [["[CLS]", "play", "music", "by", "adele", "[SEP]"]]
    assert 0 < answer["milliseconds"] < 60_000


@pytest.mark.parametrize(
    "row",
    [
        ["in", "new", "rome"],
        {"text": "the film", "text_pair": "is dull"},
        {"tokens": ["in", "new", "rome"]},
        {"text": ""},
    ],
)
def test_rows_may_be_objects(client: Client, predictor: MultiTaskPredictor, row: dict[str, Any]) -> None:
    assert same(client.predict(row)["answers"], predictor([row])[0])


def test_heads_that_choose_answer_with_the_best_few(client: Client, predictor: MultiTaskPredictor) -> None:
    answers = client.predict("play", None, 2)["answers"]
    assert same(answers, predictor(["play"], top_k=2)[0])
    assert [len(answers[name]) for name in ("intent", "banking")] == [2, 2]
    # of heads that rank nothing it is no error
    assert list(client.predict("play", ["slots"], 2)["answers"]) == ["slots"]


def test_only_the_heads_that_were_asked_for_answer(client: Client) -> None:
    assert list(client.predict("play", ["slots", "intent"])["answers"]) == ["intent", "slots"]


BAD: list[tuple[tuple[Any, ...], str]] = [
    ((None,), "or an object, found NoneType"),
    ((5,), "or an object, found int"),
    (([5],), "expected a list of words"),
    ((["x"] * 2000,), "expected at most 1000 characters, found 2000"),
    (({},), "inputs: expected one of"),
    (({"text": 5},), "text: expected a text, found int"),
    (({"tokens": "play"},), "tokens: expected a list of words"),
    (({"txt": "play"},), "unknown key 'txt', did you mean 'text'"),
    (({"text": "play", "task": "none"},), "unknown task 'none'"),
    (({"images": "/etc/passwd"},), "images: the API takes texts only"),
    (({"audio": [0.0]},), "audio: the API takes texts only"),
    (("play" * 300,), "expected at most 1000 characters, found 1200"),
    (({"tokens": [""] * 2000},), "expected at most 1000 characters, found 2000"),
    (("play", ["intnt"]), "unknown head 'intnt', did you mean 'intent'"),
    (("play", "intent"), "heads: expected a list of names, found 'intent'"),
    (("play", [["intent"]]), "unknown head"),
    (("play", None, 0), "top_k: expected a whole number from 1 up, found 0"),
    (("play", None, "5"), "top_k: expected a whole number from 1 up, found '5'"),
    (("play", None, True), "top_k: expected a whole number from 1 up, found True"),
    (("play", []), "heads: expected at least one name"),
    (("\ud800",), "a surrogate without its pair"),
    (("play", ["answer"]), "none of the heads answer answers a row that has text"),
]


@pytest.mark.parametrize(("data", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_input_is_explained_and_the_page_stays_up(client: Client, data: tuple[Any, ...], message: str) -> None:
    assert message in client.error(*data)
    assert client.predict("play")["errors"] == {}


def test_a_megabyte_is_refused(client: Client) -> None:
    assert "found 1000000." in client.error("a" * 1_000_000)
    assert client.predict("play")["errors"] == {}


@pytest.mark.parametrize("body", ['{"data": ["play', "", "[]", "{}", '{"data": 5}', '"play"'])
def test_what_is_no_request_has_an_error_status(client: Client, body: str) -> None:
    status, answer = client.send(body)
    assert status == 422
    assert answer["detail"]
    assert client.predict("play")["errors"] == {}


def test_a_request_without_all_parameters_is_told_how_many_there_are(client: Client) -> None:
    status, answer = client.send('{"data": ["play"]}')
    assert status == 500
    assert "needed: 3, got: 1" in answer["error"]


def test_gradios_client_knows_the_api(page: str, predictor: MultiTaskPredictor) -> None:
    """It also fills in the parameter that is left out."""
    from gradio_client import Client as GradioClient
    from gradio_client.exceptions import AppError

    client = GradioClient(page, verbose=False)
    answer = client.predict("play music", api_name="/predict")
    assert same(answer["answers"], predictor(["play music"])[0])
    assert list(client.predict(row="play music", heads=["slots"], api_name="/predict")["answers"]) == ["slots"]
    with pytest.raises(AppError, match="unknown head 'none'"):
        client.predict("play music", ["none"], api_name="/predict")
    described = client.view_api(return_format="dict")
    assert list(described["named_endpoints"]) == ["/predict"]
    client.close()
