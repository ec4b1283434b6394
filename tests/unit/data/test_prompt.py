import pytest

from pedro_bench.data.prompt import identity_of, parse_template
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.task import Part


def test_parts_split_around_what_may_shrink():
    template = parse_template("task.prompt", "T: {title}\n{passage}\nQ: {question}?", "passage")
    parts = template.parts({"title": "x", "passage": "long {text}", "question": "who"})
    assert parts == (Part("T: x\n"), Part("long {text}", can_shrink=True), Part("\nQ: who?"))
    assert template.fields == ("title", "passage", "question")


def test_without_shrinkable_the_prompt_is_one_part():
    template = parse_template("task.prompt", "Review: {sentence}\nSentiment:", None)
    assert template.parts({"sentence": "good"}) == (Part("Review: good\nSentiment:"),)


@pytest.mark.parametrize(
    ("text", "shrinkable", "message"),
    [
        ("{a} ", None, "task.prompt must be a text that does not end in white space, got '{a} '"),
        ("", None, "task.prompt must be a text, not empty, got ''"),
        ("{a", None, "task.prompt must have balanced braces, got '{a'"),
        ("{a.b}", None, r"task.prompt must name plain fields.*got \{a.b\}"),
        ("{}:", None, "task.prompt must name plain fields"),
        ("{passage}:", "pasage", "task.shrinkable .*got 'pasage'. Did you mean 'passage'"),
        ("{a}{a}:", "a", "task.shrinkable must be a field that stands once"),
    ],
)
def test_wrong_template(text, shrinkable, message):
    with pytest.raises(ConfigError, match=message):
        parse_template("task.prompt", text, shrinkable)


def test_identity_folds_case_and_space_but_keeps_fields_apart():
    assert identity_of({"a": "The  Cat\n", "b": "x"}) == identity_of({"a": "the cat", "b": "X"})
    assert identity_of({"a": "a b", "b": "c"}) != identity_of({"a": "a", "b": "b c"})
