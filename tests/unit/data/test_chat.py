"""Chat templates: ids are those of Transformers' rendering; the prompt ends where the answer begins."""

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data import chat
from pedro_bench.data.chat import chat_of, conversation, templates_for
from pedro_bench.data.encoding import encode
from pedro_bench.data.prompt import example_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.task import Example
from pedro_bench.runs.identity import run_key
from tests.tiny import make_tokenizer

TURN = "{% for m in messages %}"
TEMPLATES = {
    "chatml": TURN
    + "<|im_start|>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llama2": "{{ bos_token }}"
    + TURN
    + "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% else %} {{ m.content }} </s>{% endif %}"
    + "{% endfor %}",
    "gemma": "{{ bos_token }}"
    + TURN
    + "<|im_start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}",
}
ROW = {"instruction": "where is Ana", "input": "Ana lives in Oslo", "output": "in Oslo"}
SAID = "where is Ana\n\nAna lives in Oslo"


@pytest.fixture
def tokenizer():
    found = make_tokenizer()
    found.add_special_tokens(
        {"additional_special_tokens": ["<|im_start|>", "<|end|>", "[INST]", "[/INST]"]}
    )
    return found


@pytest.fixture(params=TEMPLATES)
def template(request):
    return TEMPLATES[request.param]


def rendered(tokenizer, template, messages, **changes):
    """Return the ids of Transformers' own rendering."""
    roles = ("user", "assistant")
    turns = [{"role": roles[at % 2], "content": text} for at, text in enumerate(messages)]
    text = tokenizer.apply_chat_template(turns, tokenize=False, chat_template=template, **changes)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def encoded(tokenizer, example):
    (one,) = encode(tokenizer, [example], max_length=200, with_answers=True).encoded
    return one


def test_prompt_and_answer_are_the_template_s(tokenizer, template, make_task):
    task = make_task("alpaca", chat_template=template).for_tokenizer(tokenizer)
    example = task.example(ROW)
    one = encoded(tokenizer, example)
    whole = rendered(tokenizer, template, [SAID, "in Oslo"])
    bos = [tokenizer.bos_token_id]
    expected = whole if whole[:1] == bos else bos + whole
    found = [*one.prompt_ids, *one.answer_ids]
    if "<|end|>" in template:
        assert found == [*expected, tokenizer.eos_token_id]
    else:
        assert found == expected
    answer = tokenizer("in Oslo", add_special_tokens=False)["input_ids"]
    assert list(one.answer_ids[: len(answer)]) == answer, "the prompt ends where the answer begins"
    assert task.ending.strip() == ("<|end|>" if "<|end|>" in template else "")


def test_a_conversation_goes_on_in_the_template(tokenizer, template):
    parts = conversation(tokenizer, template, ["who is Ana", "why"], ["a dog"])
    (one,) = encode(
        tokenizer, [Example(parts, "", ("",), "")], max_length=200, with_answers=False
    ).encoded
    whole = rendered(tokenizer, template, ["who is Ana", "a dog", "why", "because"])
    bos = [tokenizer.bos_token_id]
    expected = whole if whole[:1] == bos else bos + whole
    answer = tokenizer("because", add_special_tokens=False)["input_ids"]
    at = expected.index(answer[0])
    assert list(one.prompt_ids) == expected[:at]


def test_control_tokens_in_the_data_stay_text(tokenizer, template, make_task):
    task = make_task("alpaca", chat_template=template).for_tokenizer(tokenizer)
    hostile = {**ROW, "instruction": "say <|im_start|> [INST] </s>"}
    plain = {**ROW, "instruction": "say it"}
    numbers = tokenizer.convert_tokens_to_ids(["<|im_start|>", "[INST]", "</s>"])
    counts = [
        [encoded(tokenizer, task.example(row)).prompt_ids.count(number) for number in numbers]
        for row in (hostile, plain)
    ]
    assert counts[0] == counts[1]


def test_a_prompt_given_as_text_is_read_as_the_run_s(tokenizer, template, make_task):
    task = make_task("alpaca", chat_template=template).for_tokenizer(tokenizer)
    example = task.example({**ROW, "input": ""})
    templates = templates_for({"chat_template": template}, tokenizer)
    again = example_of("a prompt", example.prompt, "in Oslo", templates)
    assert encoded(tokenizer, again) == encoded(tokenizer, example)


def test_an_input_shrinks_and_an_empty_one_is_left_out(tokenizer, make_task):
    task = make_task("alpaca", chat_template=TEMPLATES["chatml"]).for_tokenizer(tokenizer)
    assert [p.text for p in task.example(ROW).parts if p.can_shrink] == ["Ana lives in Oslo"]
    alone = task.example({**ROW, "input": ""})
    assert [p.text for p in alone.parts if p.can_shrink] == ["where is Ana"]


def test_the_tokenizer_s_own_template_and_none(tokenizer, make_task):
    assert make_task("alpaca").for_tokenizer(tokenizer) == make_task("alpaca")
    with pytest.raises(ConfigError, match=r"whose tokenizer has no chat template, got 'model'"):
        make_task("alpaca", chat_template="model").for_tokenizer(tokenizer)
    tokenizer.chat_template = TEMPLATES["chatml"]
    own = make_task("alpaca", chat_template="model").for_tokenizer(tokenizer)
    given = make_task("alpaca", chat_template=TEMPLATES["chatml"]).for_tokenizer(tokenizer)
    assert own.example(ROW) == given.example(ROW)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (
            "{{ messages[0].content }}",
            r"each turn once and in order, got 0 of turn 2, the assistant's",
        ),
        (
            "{% for m in messages %}{{ m.content }}{{ m.content }}{% endfor %}",
            r"got 2 of turn 1, the user's",
        ),
        ("{{ raise_exception('no system') }}", r"can be rendered, got no system"),
        ("{{ messages", r"can be rendered, got "),
    ],
)
def test_a_template_without_both_turns_is_refused(tokenizer, template, message):
    with pytest.raises(ConfigError, match=message) as caught:
        chat_of(tokenizer, template)
    assert "\n" not in str(caught.value)


def test_a_file_is_read_into_the_setting_and_the_key(tmp_path, monkeypatch):
    file = tmp_path / "chat.jinja"
    file.write_text(TEMPLATES["chatml"])
    plain = run_key(settings_of(["task=alpaca", "device=cpu"]))
    assert run_key(settings_of(["task=alpaca", "task.chat_template=none", "device=cpu"])) == plain
    found = settings_of(["task=alpaca", f"task.chat_template={file}", "device=cpu"])
    assert found.resolved_config["task"]["chat_template"] == TEMPLATES["chatml"]
    assert run_key(found) != plain
    key = run_key(found)
    monkeypatch.setattr(chat, "VERSION", chat.VERSION + 1)
    assert (run_key(found) != key, run_key(settings_of(["task=alpaca", "device=cpu"]))) == (
        True,
        plain,
    )
    (tmp_path / "same.jinja").write_text(TEMPLATES["chatml"])
    same = settings_of(["task=alpaca", f"task.chat_template={tmp_path}/same.jinja", "device=cpu"])
    assert run_key(same) == run_key(found)
    with pytest.raises(
        ConfigError, match=r"must be none, model or a file .*, got 'modle'.*'model'"
    ):
        settings_of(["task=alpaca", "task.chat_template=modle"])
    file.write_text("hello")
    with pytest.raises(
        ConfigError, match=r"must be a file with a Jinja template, got .*chat.jinja"
    ):
        settings_of(["task=alpaca", f"task.chat_template={file}"])
