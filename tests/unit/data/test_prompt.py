import pytest

from pedro_bench.data.prompt import (
    example_of,
    first_line,
    identity_of,
    match_candidate,
    parse_template,
    templates_of,
)
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.protocols.task import Part


def own(text):
    return Part(text, is_template=True)


def test_parts_are_the_templates_own_texts_and_the_values():
    template = parse_template("task.prompt", "T: {title}\n{passage}\nQ: {question}?", "passage")
    parts = template.parts({"title": "x", "passage": "long {text}", "question": "who"})
    assert parts == (
        *(own("T: "), Part("x"), own("\n"), Part("long {text}", can_shrink=True)),
        *(own("\nQ: "), Part("who"), own("?")),
    )
    assert template.fields == ("title", "passage", "question")


@pytest.mark.parametrize(
    "text", ["Review: {a}\nSentiment:", "{a} and {b}", "{a}{b}!", "{{x}} {a} {{y}} {b} {{z}}"]
)
def test_parts_of_a_prompt_are_those_that_made_it(text):
    template = parse_template("task.prompt", text, None)
    prompt = "".join(part.text for part in template.parts({"a": "good </s>", "b": "bad"}))
    found = template.parts_of(prompt)
    assert "".join(part.text for part in found) == prompt
    assert [part for part in found if part.is_template] == [
        part for part in template.parts({"a": "", "b": ""}) if part.is_template
    ]


@pytest.mark.parametrize("prompt", ["good", "Review: good", "x Review: good\nSentiment:", ""])
def test_a_prompt_of_another_template_has_no_parts(prompt):
    template = parse_template("task.prompt", "Review: {a}\nSentiment:", None)
    assert template.parts_of(prompt) is None
    assert example_of("p", prompt, templates=[template]).parts == (Part(prompt),)


def test_the_first_template_that_fits_counts():
    task = {"prompt": "Q: {a}\nI: {b}\nA:", "prompt_without_input": "Q: {a}\nA:"}
    templates = templates_of(task)
    parts = example_of("p", "Q: x\nI: y\nA:", templates=templates).parts
    assert parts == (own("Q: "), Part("x"), own("\nI: "), Part("y"), own("\nA:"))
    assert len(example_of("p", "Q: x\nA:", templates=templates).parts) == 3
    assert templates_of({"max_new_tokens": 4}) == ()


@pytest.mark.parametrize("text", ["\ud83d", "a\ude00"])
def test_lone_surrogates_are_refused_with_the_prompts_place(text):
    with pytest.raises(DataError, match=r"prompts\[2\] must be text that UTF-8 can encode"):
        example_of("prompts[2]", text)
    with pytest.raises(DataError, match=r"the answer of pairs\[0\] must be text that UTF-8"):
        example_of("pairs[0]", "a", text)
    with pytest.raises(ConfigError, match=r"task.prompt must be text that UTF-8 can encode"):
        parse_template("task.prompt", f"{{a}}{text}:", None)


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


def test_first_line_skips_blank_lines():
    assert first_line("\n  yes it is \nno") == "yes it is"
    assert first_line("  ") == ""


@pytest.mark.parametrize("text", ["yes", " Yes.", "YES!\nno", '"yes"'])
def test_candidate_is_recognised(text):
    assert match_candidate(text, ("no", "yes")) == "yes"


@pytest.mark.parametrize("text", ["yes and no", "ye", "", "maybe yes", "yesno"])
def test_nothing_is_guessed(text):
    assert match_candidate(text, ("no", "yes")) == text


def test_choices_keep_their_own_spelling():
    assert match_candidate("the SUN rose", ("The sun rose.", "It rained.")) == "The sun rose."
