"""All wordings of a request ask for the same thing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aam_edge.engine.text import TextTable
from aam_edge.engine.word_pieces import words
from aam_edge.engine.wording import content

GOLDEN = Path(__file__).parent / "golden"
NAMES = json.loads((GOLDEN / "phrases.json").read_text())["names"]
TABLE = TextTable()
WORDINGS = [
    *("{}", "search for {}", "search for the {}", "find the {}", "find a {}!", "where is the {}?"),
    *("where is my {}", "where's my {}?", "Where\u2019s the {}", "look for the {}", "locate {}"),
    *("can you show me the {}, please?", "could you please find my {} for me", "spot the {}"),
    *("I'm looking for my {}", "I am searching for a {}", "i want to see the {}", "show me any {}"),
    *("please point at the {}", "is there a {} here?", "tell me where the {} is", "see the {}"),
    *("I'd like to find my {}.", "I need the {}", "have you seen my {}?", "i can't find my {}"),
    *("help me find the {}", "where did I put my {}", "do you see a {} anywhere", "detect the {}"),
    *("Let's find the {}", "focus on the {}", "pay attention to the {}", "look at the {} now"),
    *("find all {} in this picture", "where is the {} in the image?", "where could my {} be"),
    *("watch out for the {}", "where is the {} located?", "FIND  THE\t{}", "go find the {}"),
]


@pytest.mark.parametrize("wording", WORDINGS)
def test_wording_of_a_request_does_not_change_what_is_asked_for(wording: str) -> None:
    for name in NAMES:
        assert content(wording.format(name)) == name
        assert TABLE.embed(wording.format(name)) @ TABLE.embed(name) > 0.99


@pytest.mark.parametrize(
    ("prompt", "stays"),
    [
        *(("free viewing", "free viewing"), ("Free  Viewing", "free viewing")),
        *(("count the people", "count people"), ("find the emotion", "emotion")),
        ("find the occasion or what the people are doing", "occasion or what people are doing"),
        *(("where do people look", "people look"), ("what is written", "what is written")),
        *(("look", "look"), ("look around", "look"), ("where to look", "look")),
        *(("find", "find"), ("the", "the"), ("where is it", "it"), ("please", "please")),
        *(("find the can", "can"), ("trash can", "trash can"), ("can opener", "can opener")),
        *(("stop sign", "stop sign"), ("spot light", "spot light"), ("my watch", "watch")),
        *(("lost and found", "lost and found"), ("left hand", "left hand"), ("us flag", "us flag")),
        *(("red mug on the table", "red mug on table"), ("vitamin A", "vitamin a")),
        *(("dog's bowl", "dog bowl"), ("t-shirt", "t shirt"), ("i want to sit down", "sit down")),
        *(("the man and his dog", "man and dog"), ("cup to go", "cup")),
        *(("search for \u2603", "\u2603"), ("wo ist die Tasse", "wo ist die tasse")),
        *(("", ""), ("  ", ""), ("?!", "? !"), ("where?", "where"), ("find 3", "3")),
    ],
)
def test_what_a_prompt_is_about_stays(prompt: str, stays: str) -> None:
    assert content(prompt) == stays


def test_names_of_things_are_no_words_of_asking() -> None:
    phrases = json.loads((GOLDEN / "phrases.json").read_text())
    named = [*NAMES, *phrases["held_out"], *phrases["chosen_on"]]
    changed = {name: content(name) for name in named if content(name) != name}
    assert changed == {
        "my phone": "phone",
        "my watch": "watch",
        "a man walking": "man walking",
        "the boy": "boy",
        "red light at the crossing": "red light at crossing",
    }


@pytest.mark.parametrize("prompt", ["free viewing", "", "count people"])
def test_prompt_without_asking_keeps_its_vector(prompt: str) -> None:
    with_marks = TABLE.embed(f"  {prompt} ")
    assert (with_marks == TABLE.embed(prompt)).all()
    assert TABLE.embed(prompt).any() == bool(prompt)


OFTEN = st.sampled_from(words("where the can you look for cup is in picture ' s ? please \u2603"))


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.lists(OFTEN, max_size=12).map(" ".join)))
def test_something_stays_of_any_text_that_has_words(prompt: str) -> None:
    cleaned = words(prompt)
    kept = content(prompt).split()
    assert bool(kept) == bool(cleaned)
    remaining = iter(cleaned)
    assert all(word in remaining for word in kept)  # some of the words, in their order
