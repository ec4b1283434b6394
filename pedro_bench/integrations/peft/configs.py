"""peft's configurations of this package's methods: the settings of `methods/`, under peft's names.

Each is saved as `adapter_config.json` and read back by peft; each can be made from a method, which is how an
adapter that was trained here becomes one of peft's (`MethodConfig.of`).
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

from peft import PeftConfig
from peft.utils.peft_types import PeftType

from pedro_bench.errors import ConfigError
from pedro_bench.methods.bitfit import BitFit
from pedro_bench.methods.ia3 import Ia3
from pedro_bench.methods.lpt import LatePromptTuning
from pedro_bench.methods.pedro import Pedro
from pedro_bench.methods.prompt_tuning import PromptTuning
from pedro_bench.methods.red import Red
from pedro_bench.protocols.backbone import LINEAR_ROLES
from pedro_bench.protocols.method import Method

IMPORT = "import pedro_bench.integrations.peft"
"""What registers the types with peft."""

_LOADING = f"""### Loading

The adapter's type comes from `pip install 'pedro_bench[peft]'`:

```python
{IMPORT}
from peft import AutoPeftModelForCausalLM
```
"""


@dataclass
class MethodConfig(PeftConfig):  # type: ignore[misc]  # the base class is Any to the checker
    """What the configurations of all methods share.

    Raises:
        ConfigError: If a setting is outside its range.
    """

    type_name: ClassVar[str]
    """The type's name; in lower case with `_` behind it, the prefix of its tensors."""
    method_class: ClassVar[type[Method]]
    default_roles: ClassVar[tuple[str, ...]] = ()
    """Roles that are adapted where `target_modules` is None; empty: the method has no choice of roles."""
    fixed: ClassVar[dict[str, Any]] = {}
    """Settings of the method that this type does not leave open."""
    renamed: ClassVar[dict[str, str]] = {}
    """Fields whose names mean something else to peft -> the method's names for them."""
    reads_prompt: ClassVar[bool]
    """Whether what the method does depends on where the prompt ends."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PeftType(self.type_name)
        self.method()

    def method(self, roles: tuple[str, ...] | None = None) -> Method:
        """Return the method with these settings.

        Args:
            roles: What it adapts; None: `default_roles`.

        Raises:
            ConfigError: If a setting is outside its range.
        """
        own = self._settings().items()
        settings: dict[str, Any] = {
            theirs: getattr(self, name) for name, theirs in own
        } | self.fixed
        if self.default_roles:
            settings["roles"] = self.default_roles if roles is None else roles
        try:
            return self.method_class(name=self.type_name.lower(), label=self.type_name, **settings)
        except ConfigError as error:
            words = str(error).replace("method.", f"{type(self).__name__}.")
            raise ConfigError(words) from error

    @classmethod
    def written_type(cls) -> str:
        """Return `peft_type` as it stands in files.

        Where the type is not registered peft refuses the file with this text and no other, so it says what
        to import.
        """
        return f"{cls.type_name} ({IMPORT})"

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in `adapter_config.json`."""
        return {**super().to_dict(), "peft_type": self.written_type()}

    def save_pretrained(self, save_directory: Any, **kwargs: Any) -> None:
        """Write `adapter_config.json`, and into the model card beside it what loads the adapter."""
        super().save_pretrained(str(save_directory), **kwargs)
        card = Path(save_directory) / "README.md"
        text = card.read_text(encoding="utf-8") if card.exists() else ""
        if text and IMPORT not in text:
            card.write_text(f"{text.rstrip()}\n\n{_LOADING}", encoding="utf-8")

    @classmethod
    def _settings(cls) -> dict[str, str]:
        """Return field -> the method's name for it, of all fields that are the method's."""
        theirs = {part.name for part in fields(cls.method_class)}
        names = {part.name: cls.renamed.get(part.name, part.name) for part in fields(cls)}
        return {name: method_name for name, method_name in names.items() if method_name in theirs}

    @classmethod
    def of(cls, method: Method, **shared: Any) -> "MethodConfig":
        """Return the configuration of a method of this package, whose tensors it then describes.

        Args:
            method: The method.
            shared: Fields of peft's own, such as `base_model_name_or_path` and `task_type`.

        Raises:
            ConfigError: If no type of peft here stands for the method.
        """
        for kind in cls.__subclasses__():
            is_kind = type(method) is kind.method_class
            if is_kind and all(
                getattr(method, name) == value for name, value in kind.fixed.items()
            ):
                own = kind._settings().items()
                settings = {name: getattr(method, theirs) for name, theirs in own}
                if kind.default_roles:
                    settings["target_modules"] = [*vars(method)["roles"]]
                return kind(**settings, **shared)
        known = ", ".join(kind.method_class.__name__ for kind in cls.__subclasses__())
        raise ConfigError(
            f"method must be one that is a type of peft here ({known}), got {method.name!r}: save it with "
            "AdaptedModel.adapter_state(), or export its run with format=native, or with format=merged "
            "where Method.is_affine is set."
        )


@dataclass
class PedroConfig(MethodConfig):
    """PEDRO (Xie et al.): a generator in every layer turns the prompt into vectors that scale projections.

    Attributes:
        r: Bottleneck of the generators, at least 1.
        pooling: `last`, `mean` or `max` over the prompt's tokens.
        activation: `rational`, `relu`, `gelu` or `relu_then_gelu`.
        reads: `residual` (the layer's input) or `normalised` (after its first normalisation).
        target_modules: Projections to scale, as roles (`query`) or names of modules (`q_proj`), each in all
            layers; None: query, value and the feed-forward network's up-projection.
    """

    r: int = 12
    pooling: str = "last"
    activation: str = "rational"
    reads: str = "residual"
    target_modules: list[str] | str | None = None

    type_name: ClassVar[str] = "PEDRO"
    method_class: ClassVar[type[Method]] = Pedro
    default_roles: ClassVar[tuple[str, ...]] = ("query", "value", "ffn_up")
    reads_prompt: ClassVar[bool] = True


@dataclass
class RedConfig(MethodConfig):
    """RED (Wu et al. 2024): a scaling and a bias vector edit the feed-forward network's output.

    Attributes:
        scaling: Whether there is a scaling vector.
        bias_vector: Whether there is a bias vector; one of the two there must be.
        target_modules: As in `PedroConfig`; None: the down-projection.
    """

    scaling: bool = True
    bias_vector: bool = True
    target_modules: list[str] | str | None = None

    type_name: ClassVar[str] = "RED"
    method_class: ClassVar[type[Method]] = Red
    default_roles: ClassVar[tuple[str, ...]] = ("ffn_down",)
    renamed: ClassVar[dict[str, str]] = {"bias_vector": "bias"}
    reads_prompt: ClassVar[bool] = False


@dataclass
class LptConfig(MethodConfig):
    """LPT (Liu et al. 2022): a late prompt, made from the prompt, passes through the upper layers.

    Attributes:
        num_virtual_tokens: Tokens of the late prompt, at least 1.
        bottleneck_size: Inner width of the generator, at least 1.
        layer: Layers below the late prompt, at least 1; None: half of them.
        pooling: `max` or `mean`.
    """

    num_virtual_tokens: int = 64
    bottleneck_size: int = 1024
    layer: int | None = None
    pooling: str = "max"

    type_name: ClassVar[str] = "LPT"
    method_class: ClassVar[type[Method]] = LatePromptTuning
    reads_prompt: ClassVar[bool] = True


@dataclass
class LowRankIA3Config(MethodConfig):
    """(IA)^3 with factored vectors l = z P, as the PEDRO paper enlarges it; peft's IA3 has plain ones.

    Attributes:
        r: Inner dimension, at least 1.
    """

    r: int = 16

    type_name: ClassVar[str] = "LOW_RANK_IA3"
    method_class: ClassVar[type[Method]] = Ia3
    reads_prompt: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.r is None:
            raise ConfigError(
                "LowRankIA3Config.r must be a whole number of at least 1, got None: plain vectors are "
                "peft's own IA3Config."
            )
        super().__post_init__()


@dataclass
class BitFitConfig(MethodConfig):
    """BitFit (Ben-Zaken et al. 2022): a vector is added to the output of each projection.

    Attributes:
        r: Inner dimension of factored vectors b = z P, at least 1; None: plain vectors.
        target_modules: As in `PedroConfig`; None: all projections.
    """

    r: int | None = 8
    target_modules: list[str] | str | None = None

    type_name: ClassVar[str] = "BITFIT"
    method_class: ClassVar[type[Method]] = BitFit
    default_roles: ClassVar[tuple[str, ...]] = LINEAR_ROLES
    reads_prompt: ClassVar[bool] = False


@dataclass
class InfixConfig(MethodConfig):
    """Infix tuning (after Li and Liang 2021): trained tokens between prompt and answer.

    Attributes:
        num_virtual_tokens: Tokens, at least 1.
    """

    num_virtual_tokens: int = 64

    type_name: ClassVar[str] = "INFIX"
    method_class: ClassVar[type[Method]] = PromptTuning
    fixed: ClassVar[dict[str, Any]] = {"place": "after_prompt"}
    reads_prompt: ClassVar[bool] = True
