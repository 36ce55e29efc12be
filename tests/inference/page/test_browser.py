"""The page in a browser: what people see after they pressed the button."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from inference.page.browser import open_browser, requested_hosts, wait_for

from mt_transformers.inference import MultiTaskPredictor

pytest.importorskip("gradio")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as browser:
        yield browser


def ask(browser: Any, text: str) -> dict[str, Any]:
    """Type a text, press the button and wait; the card of each head."""
    box = wait_for(browser, "#box-text textarea")[0]
    # send_keys would break a text at its line breaks
    browser.execute_script(
        "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'));", box, text
    )
    browser.execute_script("document.querySelector('#answers .mt-cards')?.remove()")
    wait_for(browser, ".mt-predict")[0].click()
    wait_for(browser, "#answers .mt-card")
    return {card.get_attribute("data-head"): card for card in browser.find_elements("css selector", ".mt-card")}


def test_all_heads_for_texts_answer_a_sentence(browser: Any, page: str, predictor: MultiTaskPredictor) -> None:
    browser.get(page)
    text = "play music by adele in new rome"
    cards = ask(browser, text)
    expected = predictor([text])[0]
    assert list(cards) == ["intent", "slots", "banking", "parse"]
    assert expected["intent"]["label"] in cards["intent"].text
    assert f"{expected['intent']['score']:.3f}" in cards["intent"].text
    assert len(cards["intent"].find_elements("css selector", ".mt-bar")) == 3
    assert expected["banking"]["label"] in cards["banking"].text
    marks = cards["slots"].find_elements("css selector", "mark > span")
    assert [mark.text for mark in marks] == [text[span["start"] : span["end"]] for span in expected["slots"]]
    assert [each.text for each in browser.find_elements("css selector", ".mt-tokens code")] == [
        "[CLS]",
        *text.split(),
        "[SEP]",
    ]
    assert " ms" in browser.find_element("css selector", ".mt-tokens summary").text


def test_nothing_is_fetched_from_elsewhere_and_nothing_fails(browser: Any, page: str) -> None:
    browser.get_log("performance")
    browser.get_log("browser")
    browser.get(page)
    ask(browser, "play music")
    assert requested_hosts(browser) == {"127.0.0.1"}
    assert [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>document.title = 'hit'</script>",
        "<img src=x onerror=\"document.title = 'hit'\">",
        "</span></mark><h1 id=hit>",
        "${document.title = 'hit'} {{value}} `${1 + 1}` @children",
        '"><svg onload="document.title = 1">',
    ],
)
def test_a_text_stays_a_text(browser: Any, page: str, text: str) -> None:
    browser.get(page)
    cards = ask(browser, text)
    body = cards["slots"].find_element("css selector", ".mt-text")
    labels = [label.get_attribute("textContent") for label in body.find_elements("css selector", "mark > b")]
    shown = body.get_attribute("textContent")
    for label in labels:
        shown = shown.replace(label, "", 1)
    assert shown == text
    assert (
        browser.find_elements("css selector", "#answers script, #answers img, #answers h1, #answers svg svg, #hit")
        == []
    )
    assert browser.title == "tiny <b>model"
    assert browser.find_element("css selector", ".mt-title h1").text == "tiny <b>model"


@pytest.mark.parametrize(("text", "message"), [("", "Text: nothing is there yet."), ("a" * 1001, "found 1001.")])
def test_what_cannot_be_used_is_explained(browser: Any, page: str, text: str, message: str) -> None:
    browser.get(page)
    card = ask(browser, text)[None]
    assert message in card.text
    assert card.get_attribute("role") == "alert"


def test_an_example_fills_the_box_and_is_answered(browser: Any, page: str) -> None:
    browser.get(page)
    example = wait_for(browser, ".mt-examples button")[0]
    text = example.text
    example.click()
    wait_for(browser, "#answers .mt-card", 4)
    assert browser.find_element("css selector", "#box-text textarea").get_attribute("value") == text


def test_a_tree_has_an_arc_for_each_word(browser: Any, page: str, predictor: MultiTaskPredictor) -> None:
    browser.get(page)
    text = "adele is the new music"
    card = ask(browser, text)["parse"]
    assert [word.text for word in card.find_elements("css selector", "svg .mt-word")] == text.split()
    relations = [relation.text for relation in card.find_elements("css selector", "svg .mt-relation")]
    assert sorted(relations) == sorted(word["deprel"] for word in predictor([text])[0]["parse"])
    assert card.find_elements("css selector", "b") == []


def test_questions_have_a_tab_of_their_own(browser: Any, page: str) -> None:
    browser.get(page)
    assert [tab.text for tab in wait_for(browser, "button[role=tab]")] == ["Text", "Question"]
    browser.find_elements("css selector", "button[role=tab]")[1].click()
    wait_for(browser, ".mt-examples button", 4)[-1].click()
    wait_for(browser, ".mt-card[data-head=answer] mark")
