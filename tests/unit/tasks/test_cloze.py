import pytest

from pedro_bench.errors import ConfigError, DataError


def test_entities_are_listed_once_each(make_task):
    row = {"passage": "p", "query": "@placeholder", "entities": ["A", "B", "A "], "answers": ["B"]}
    example = make_task("record").example(row)
    assert example.candidates == ("A", "B")
    assert "Entities: A, B\n" in example.prompt
    assert example.extractive


def test_the_query_and_the_entities_must_be_in_the_prompt(make_task):
    message = r"task.query_field and task.entities_field must .*got 'querry'. Did you mean 'query'"
    with pytest.raises(ConfigError, match=message):
        make_task("record", query_field="querry")


OPEN = {
    "entities_field": None,
    "prompt": "{passage}\nStatement: {query}\n@placeholder stands for:",
}


def test_rows_without_entities_need_a_task_that_does_without(make_task):
    row = {"passage": "Ana met Ben.", "query": "@placeholder left.", "answers": ["Ana", "Ben"]}
    with pytest.raises(DataError, match=r"'entities' must be .* give task.entities_field=null and"):
        make_task("record").example(row)
    task = make_task("record", **OPEN)
    example = task.example(row)
    assert not task.is_closed and make_task("record").is_closed
    assert (example.candidates, example.golds) == ((), ("Ana", "Ben"))
    assert task.score(["Ben"], [example]) == {"f1_em": 100.0, "f1": 100.0, "em": 100.0}
    assert task.fields == ("passage", "query", "answers")
