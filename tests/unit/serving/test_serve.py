"""Finished runs' saved adapters as tenants: the same text as each run gives alone."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pedro_bench
from pedro_bench.backbones.families.llama import LlamaFamily
from pedro_bench.data.encoding import encode_whole
from pedro_bench.data.prompt import PromptTemplate
from pedro_bench.errors import BackboneError, ConfigError, DataError, RecordError
from pedro_bench.methods.lora import Lora
from pedro_bench.runs.saved import saved_adapter
from pedro_bench.serving import TenantAdapter


def test_finished_runs_are_served_together(save_run: Callable[..., Path]) -> None:
    runs = {"anna": save_run("pedro", 0), "ben": save_run("pedro", 1)}
    prompts = ["the cat sat on the mat", "who lives in Oslo", "a dog"]
    requests = [("ben", prompts[0]), ("anna", prompts[1]), ("ben", prompts[2])]
    alone = {tenant: pedro_bench.load(path, device="cpu") for tenant, path in runs.items()}
    bank = pedro_bench.serve(runs, device="cpu")
    for num_beams in (1, 3):
        expected = [
            alone[tenant].generate([prompt], num_beams=num_beams, max_new_tokens=5)[0]
            for tenant, prompt in requests
        ]
        assert bank.generate(requests, num_beams=num_beams, max_new_tokens=5) == expected
    path = save_run("pedro", 2)
    bank.add("cleo", saved_adapter(path))
    bank.add("dora", saved_adapter(str(path)))
    assert bank.tenants == ("anna", "ben", "cleo", "dora")


def test_fast_decoding_gives_the_same_text(save_run: Callable[..., Path]) -> None:
    runs = {"anna": save_run("pedro", 0), "ben": save_run("pedro", 1)}
    prompts = ["the cat sat on the mat", "who lives in Oslo", "a dog"]
    expected = pedro_bench.load(runs["anna"], device="cpu").generate(prompts, max_new_tokens=5)
    fast = pedro_bench.load(runs["anna"], device="cpu", decoding="static")
    assert fast.generate(prompts, max_new_tokens=5) == expected
    bank = pedro_bench.serve(runs, device="cpu", decoding="static")
    requests = [("anna", prompts[0]), ("ben", prompts[1]), ("anna", prompts[2])]
    found = bank.generate(requests, max_new_tokens=5)
    assert [found[0], found[2]] == [expected[0], expected[2]]


def test_what_does_not_fit_together_is_refused(
    save_run: Callable[..., Path], tmp_path: Path
) -> None:
    runs = {"anna": save_run("lora", 0)}
    with pytest.raises(BackboneError, match="'ben' must have been trained on the bank's backbone"):
        pedro_bench.serve(runs | {"ben": save_run("lora", 0, "gemma")}, device="cpu")
    with pytest.raises(
        ConfigError, match="'ben' must have trained the bank's method 'lora', got 'ia3'"
    ):
        pedro_bench.serve(runs | {"ben": save_run("ia3", 0)}, device="cpu")
    with pytest.raises(ConfigError, match="runs must name at least one tenant"):
        pedro_bench.serve({}, device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match="must have its adapter in"):
        pedro_bench.serve({"anna": tmp_path / "empty"}, device="cpu")


@pytest.mark.parametrize(
    ("owner", "component"), [(Lora, "method.Lora"), (LlamaFamily, "family.Llama")]
)
def test_an_adapter_of_an_older_version_is_reported(
    owner: Any,
    component: str,
    save_run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = save_run("lora", 0)
    pedro_bench.serve({"anna": path, "ben": path}, device="cpu")
    assert not caplog.records
    monkeypatch.setattr(owner, "version", owner.version + 1)
    told = f"{component} should have version {owner.version - 1}"
    pedro_bench.load(path, device="cpu")
    assert caplog.text.count(told) == 1
    pedro_bench.serve({"anna": path}, device="cpu")
    assert caplog.text.count(told) == 2, "once for the one tenant"


def test_a_tenants_answers_are_searched_as_its_run_searches(save_run: Callable[..., Path]) -> None:
    """Its length penalty and n-gram rule hold in a batch with a tenant that has others."""
    own = {"length_penalty": 0.1, "no_repeat_ngram_size": 1}
    runs = {"anna": save_run("lora", 0), "ben": save_run("lora", 1, evaluation=own)}
    prompts = ["the cat sat on the mat", "who lives in Oslo", "a dog"]
    requests = [(tenant, prompt) for prompt in prompts for tenant in runs]
    alone = {tenant: pedro_bench.load(path, device="cpu") for tenant, path in runs.items()}
    expected = [alone[one].generate([prompt], max_new_tokens=12)[0] for one, prompt in requests]
    bank = pedro_bench.serve(runs, device="cpu")
    assert bank.generate(requests, max_new_tokens=12) == expected
    plain = TenantAdapter.of(alone["ben"].adapted)
    bank.add("cleo", plain)
    rest = [("cleo", prompt) for prompt in prompts]
    assert bank.generate(rest, max_new_tokens=12) != expected[1::2], "the settings must matter here"


def test_a_tenants_answers_end_where_its_template_ends_them(save_run: Callable[..., Path]) -> None:
    """Also in a batch with a tenant whose template ends them otherwise."""
    adapter = saved_adapter(save_run("lora", 0))
    bank = pedro_bench.serve({"anna": save_run("lora", 0)}, device="cpu")
    prompt = "the cat sat on the mat"
    (whole,) = bank.generate([("anna", prompt)], max_new_tokens=12)
    end = whole.split()[0]
    own = PromptTemplate((("", "text"),), None, ending=f" {end}\n")
    bank.add("ben", replace(adapter, templates=(own,)))
    found = bank.generate([("anna", prompt), ("ben", prompt)], max_new_tokens=12)
    assert found == [whole, ""]


def test_control_tokens_are_those_of_each_tenants_template(
    save_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"prompt": "</s> {text} </s> :"}
    runs = {"anna": save_run("pedro", 0, task=own), "ben": save_run("pedro", 1)}
    prompts = ["</s> the cat </s> sat </s> :", "</s> the cat :", "the </s> cat"]
    alone = {tenant: pedro_bench.load(path, device="cpu") for tenant, path in runs.items()}
    requests = [(tenant, prompt) for tenant in runs for prompt in prompts]
    seen: list[list[int]] = []
    bank = pedro_bench.serve(runs, device="cpu")

    def watched(*given: Any, **options: Any) -> Any:
        encoded = encode_whole(*given, **options)
        seen.extend(list(one.prompt_ids) for one in encoded)
        return encoded

    monkeypatch.setattr("pedro_bench.serving.requests.encode_whole", watched)
    found = bank.generate(requests, max_new_tokens=3)
    assert [ids.count(2) for ids in seen] == [2, 0, 0, 0, 0, 0]
    expected = [text for one in alone.values() for text in one.generate(prompts, max_new_tokens=3)]
    assert found == expected


@pytest.mark.parametrize("text", ["bad \ud83d", "\ude00\ud83d"])
def test_prompts_with_lone_surrogates_are_refused(save_run: Callable[..., Path], text: str) -> None:
    runs = {"anna": save_run("pedro", 0)}
    run = pedro_bench.load(runs["anna"], device="cpu")
    with pytest.raises(DataError, match=r"prompts\[1\] must be text that UTF-8 can encode"):
        run.generate(["a dog", text])
    with pytest.raises(DataError, match=r"the answer of pairs\[0\] must be text that UTF-8"):
        run.loglikelihood([("a dog", text)])
    bank = pedro_bench.serve(runs, device="cpu")
    with pytest.raises(DataError, match=r"requests\[1\] must be text that UTF-8 can encode"):
        bank.generate([("anna", "a dog"), ("anna", text)])
    assert len(run.generate(["a dog \U0001f600"], max_new_tokens=2)) == 1


PLAIN: list[tuple[dict[str, Any], str]] = [
    ({"use_rslora": True}, "a plain one to be served, got use_rslora=True .* backbone.adapter"),
    ({"rank_pattern": {"q": 2}}, "got rank_pattern={'q': 2} .* backbone.adapter"),
    ({"init_lora_weights": "pissa"}, "got init_lora_weights='pissa' .* backbone.adapter"),
    ({"init_lora_weights": "pissa_niter_4"}, "got init_lora_weights='pissa_niter_4' .* with peft"),
    ({"alora_invocation_tokens": [5]}, r"got alora_invocation_tokens=\[5\] .*: use it with peft"),
    ({"layer_replication": [[0, 1]]}, r"got layer_replication=\[\[0, 1\]\] .*: use it with peft"),
    ({"bias": "lora_only"}, "got bias='lora_only' .*: use it with peft"),
]


@pytest.mark.parametrize("name", ["lora", "pedro"])
def test_adapters_of_peft_are_served_beside_runs(
    name: str, save_run: Callable[..., Path], tmp_path: Path
) -> None:
    """The same run, once as it is and once through peft's format, says the same."""
    from pedro_bench.integrations.export.request import Request
    from pedro_bench.integrations.export.writing import export

    anna, ben = save_run(name, 0), save_run(name, 1)
    folder = tmp_path / "peft"
    export(Request(run=str(ben), format="peft", out=str(folder), device="cpu"), lambda _: "")
    bank = pedro_bench.serve({"anna": anna, "ben": folder, "same": ben}, device="cpu")
    prompts = ["the cat sat on the mat", "who lives in Oslo"]
    said = {
        tenant: bank.generate([(tenant, prompt) for prompt in prompts], max_new_tokens=5)
        for tenant in bank.tenants
    }
    assert said["ben"] == said["same"] != said["anna"]
    bank.close()
    with pytest.raises(ConfigError, match="at least one run of this package"):
        pedro_bench.serve({"ben": folder}, device="cpu")
    file = folder / "adapter_config.json"
    content = file.read_text()
    file.write_text(content.replace('"peft_type": "', '"peft_type": "X_'))
    with pytest.raises(ConfigError, match="must be of type LORA or PEDRO to be served, got 'X_"):
        pedro_bench.serve({"anna": anna, "ben": folder}, device="cpu")
    if name == "lora":
        config = json.loads(content)
        for changes, message in PLAIN:
            file.write_text(json.dumps({**config, **changes}))
            with pytest.raises(ConfigError, match=message):
                pedro_bench.serve({"anna": anna, "ben": folder}, device="cpu")
