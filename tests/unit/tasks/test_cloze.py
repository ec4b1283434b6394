import pytest

from pedro_bench.errors import ConfigError


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
