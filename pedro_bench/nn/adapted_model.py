"""A backbone with a method attached: the one object that training and evaluation call.

Every forward goes through a prompt context. The language-modelling head is applied only where the loss
needs it, at the positions that predict answer tokens. Gradient checkpointing recomputes each layer within
the prompt context of its own forward: backward may run after other forwards and (on a GPU) in another
thread, where no context is active.

Legend: B examples, T tokens, D hidden, V vocabulary, N answer tokens of the whole batch.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.nn.injection import BackboneInjection
from pedro_bench.nn.task_head import TaskHead
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import IGNORED, Batch
from pedro_bench.protocols.cache import cache_of, given_cache
from pedro_bench.protocols.context import PromptContext, current_context
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.task import Task


def checkpoint_in_context(function: Callable[..., Any], *args: Any) -> Any:
    """Run `function(*args)` now and again in backward, both within the context active now."""
    context = current_context()

    def run(*inputs: Any) -> Any:
        with context.active():
            return function(*inputs)

    return checkpoint(run, *args, use_reentrant=False)


def is_checkpointing(model: nn.Module) -> bool:
    """Whether any layer is recomputed in backward."""
    return any(getattr(module, "gradient_checkpointing", False) for module in model.modules())


RETRAIN = (
    "load it with the code of that time, or raise the method's `version` and train it "
    "again (rerun=true)"
)
"""What to do with an adapter that was saved before its method's code changed."""

HEAD = "head"
"""Where an encoder's head stands among an adapter's modules."""

_MARK = "_pedro_bench_method"


def require_free(model: Any, method: str) -> None:
    """Require a model that carries no method.

    Args:
        model: A model of Transformers.
        method: Name of the method that is to be attached, for the message.

    Raises:
        InjectionError: If one is attached already.
    """
    carried = getattr(model, _MARK, None)
    if carried is not None:
        raise InjectionError(
            f"a backbone must carry one method at a time, got {method!r} on top of {carried!r}: call "
            "remove() on the first."
        )


class AdaptedModel(nn.Module):
    """A loaded backbone adapted by one method; `remove` gives the backbone back, bit for bit.

    New parameters are drawn from PyTorch's global generator: seed it first.

    Args:
        backbone: The loaded, frozen backbone. It carries one method at a time.
        method: What to attach.
        head: What an encoder says of a text; trained with the method and part of the adapter.
        head_init: How the head starts, `transformers` or `pytorch` (`TrainerConfig`).
        head_dropout: Probability of dropping a feature in the head in training, in [0, 1), or None for the
            backbone's.

    Attributes:
        backbone: As given.
        method: As given.
        head: As given.
        adapter: Every trainable parameter and buffer of the method, and the head's under `head`.

    Raises:
        InjectionError: If the backbone already carries a method, or lacks what this one needs.
    """

    def __init__(
        self,
        backbone: LoadedBackbone,
        method: Method,
        head: Head | None = None,
        *,
        head_init: str = "transformers",
        head_dropout: float | None = None,
    ) -> None:
        super().__init__()
        require_free(backbone.model, method.name)
        self.backbone = backbone
        self.method = method
        self.head = head
        self.model: nn.Module = backbone.model
        self._injection = BackboneInjection(backbone, method.name)
        self._removed = False
        setattr(backbone.model, _MARK, method.name)
        reader, *writers = backbone.stacks
        self._handles = [
            reader.register_forward_pre_hook(_enter_forward, with_kwargs=True),
            reader.register_forward_hook(_bind_cache),
        ]
        for writer in writers:
            self._handles.append(writer.register_forward_pre_hook(_enter_answer, with_kwargs=True))
            self._handles.append(writer.register_forward_hook(_bind_answer_cache))
        try:
            self._head = self._add_head(head, head_init, head_dropout)
            method.attach(self._injection)
        except BaseException:
            self.remove()
            raise
        self.adapter = self._injection.adapter

    def _add_head(self, head: Head | None, init: str, dropout: float | None) -> TaskHead | None:
        if head is None:
            return None
        config: Any = self.model.config
        own: TaskHead = self._injection.add(
            HEAD,
            TaskHead(
                head,
                self.backbone.shape.hidden_size,
                deviation=None if init == "pytorch" else config.initializer_range,
                dropout=config.hidden_dropout_prob if dropout is None else dropout,
            ),
        )
        return own

    @property
    def num_head_parameters(self) -> int:
        """Parameters of the head, which no method counts."""
        return sum(p.numel() for p in self._head.parameters()) if self._head is not None else 0

    def check_count(self, *, is_last: bool = False) -> None:
        """Require that what the optimiser updates is as many parameters as the method counts.

        The head is left out, which no method counts. A phase that searches is not asked, unless nothing
        follows it (`is_last`).

        Raises:
            InjectionError: If the method's count and what it attached differ, with both numbers.
        """
        if self.method.is_searching and not is_last:
            return
        count = self.method.count(self.backbone.shape)
        groups = self.parameter_groups().values()
        trained = {id(p): p.numel() for group in groups for p in group if p.requires_grad}
        made = sum(trained.values()) - self.num_head_parameters
        place = f"method {self.method.name!r} on backbone {self.backbone.name!r}"
        if count.trainable != made:
            raise InjectionError(
                f"{place} must train as many parameters as its `count` says, got {made:,} that it attached "
                f"and {count.trainable:,} counted (trainable): correct `count`, or `attach`, where each "
                "module with parameters to train is given to injection.add."
            )
        if not 0 < count.matrices <= count.trainable:
            raise InjectionError(
                f"{place} must count at least 1 entry of matrices and at most all that it trains, got "
                f"{count.matrices:,} of {count.trainable:,}: correct `matrices` in its `count`."
            )

    def forward(self, batch: Batch, label_smoothing: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the summed loss over answer tokens and their number.

        Args:
            batch: Right- or left-padded examples with answers.
            label_smoothing: Part of a token's loss that is the mean of -log p over the vocabulary.

        Returns:
            Sum of the cross-entropy over the answer tokens (float32 scalar, nats) and N (int64 scalar).
            With a head, the sum over the examples of its loss, and their number.
        """
        if self._head is not None:
            codes_B = batch.labels_BT[batch.labels_BT != IGNORED]
            total = self._head.loss(self.outputs(batch), codes_B, label_smoothing)
            return total, torch.tensor(len(codes_B), device=total.device)
        logits_NV, labels_N = self.answer_logits(batch)
        loss = F.cross_entropy(
            logits_NV, labels_N, reduction="sum", label_smoothing=label_smoothing
        )
        return loss, torch.tensor(labels_N.numel(), device=loss.device)

    def outputs(self, batch: Batch) -> Tensor:
        """Return what the head says of each example, (B, C) in float32.

        Raises:
            InjectionError: If there is no head.
        """
        if self._head is None:
            raise InjectionError(
                f"backbone {self.backbone.name!r} must have a head to label texts, got none: give "
                "AdaptedModel the task's head."
            )
        outputs_BC: Tensor = self._head(self._hidden(batch))
        return outputs_BC

    def labels(self, batch: Batch) -> list[str]:
        """Return what the head says of each example as text; raises as `outputs` and `Head.answer`."""
        outputs_BC = self.outputs(batch).tolist()
        assert self.head is not None
        return [self.head.answer(outputs) for outputs in outputs_BC]

    def answer_logits(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the logits that predict each answer token, and these tokens.

        Returns:
            Logits (N, V) in float32 and labels (N,), row by row of the batch.
        """
        hidden_BTD = self._hidden(batch)
        is_answer_BT = batch.labels_BT[:, 1:] != IGNORED
        hidden_ND = hidden_BTD[:, :-1][is_answer_BT]
        return self.backbone.head(hidden_ND), batch.labels_BT[:, 1:][is_answer_BT]

    def _hidden(self, batch: Batch) -> Tensor:
        """Return the last hidden states (B, T, D) of whole examples, without a cache."""
        _, mask_BT = self.backbone.prompt(batch.input_ids_BT, batch.prompt_mask_BT)
        with self.context(mask_BT).active():
            return self.backbone.states(batch)

    def context(self, prompt_mask_BT: Tensor) -> PromptContext:
        """Make the context of one forward or generation: `with model.context(prompt_mask_BT).active():`."""
        return PromptContext(prompt_mask_BT.to(self.backbone.device))

    def extra_loss(self) -> Tensor | None:
        """Return the method's own term of the training loss, or None."""
        return self.method.extra_loss(self.adapter)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the trainable parameters as `weights` and, for bilevel methods, `architecture`."""
        return dict(self.method.parameter_groups(self.adapter))

    def adapter_state(self) -> dict[str, Tensor]:
        """Return a CPU copy of the method's parameters and frozen buffers, by name: what is saved."""
        return {
            name: tensor.detach().to("cpu", copy=True).contiguous()
            for name, tensor in self.adapter.state_dict().items()
        }

    def load_adapter_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `adapter_state` gave.

        Raises:
            InjectionError: If names or shapes differ from this method's on this backbone.
        """
        own = self.adapter.state_dict()
        wrong = sorted(set(own) ^ set(state)) or sorted(
            name for name, tensor in state.items() if own[name].shape != tensor.shape
        )
        if wrong:
            raise InjectionError(
                f"a saved adapter must fit method {self.method.name!r} on backbone "
                f"{self.backbone.name!r}, got a difference in {wrong[0]!r} ({len(wrong)} in all): if the "
                f"method's code changed since, {RETRAIN}."
            )
        self.adapter.load_state_dict(dict(state))

    def enable_gradient_checkpointing(self) -> None:
        """Recompute each layer in backward instead of keeping its activations.

        Raises:
            ConfigError: If the method or the architecture cannot give exact gradients that way.
        """
        if not self.method.can_checkpoint_gradients:
            raise ConfigError(
                "trainer.gradient_checkpointing must be false with method "
                f"{self.method.name!r}, got true: its layers cannot be recomputed exactly."
            )
        model: Any = self.model
        if not getattr(model, "supports_gradient_checkpointing", False):
            raise ConfigError(
                "trainer.gradient_checkpointing must be false for this architecture, got true: "
                f"{type(model).__name__} does not support it."
            )
        model._set_gradient_checkpointing(  # the public switch takes no function of ours
            enable=True, gradient_checkpointing_func=checkpoint_in_context
        )

    def remove(self) -> None:
        """Take the method out of the backbone and restore every bit; the adapter keeps its tensors."""
        if self._removed:
            return
        self._removed = True
        if hasattr(self, "adapter"):
            kept = self.adapter_state()
            self._injection.undo()
            _own_copies(self.adapter, kept)
        else:
            self._injection.undo()
        for handle in self._handles:
            handle.remove()
        if is_checkpointing(self.model):
            self.model.gradient_checkpointing_disable()  # type: ignore[operator]  # of Transformers
        self.model.eval()
        delattr(self.backbone.model, _MARK)


def head_for(backbone: LoadedBackbone, task: Task) -> Head | None:
    """Return the head that a loaded backbone needs for a task; see `head_of`."""
    return head_of(backbone.kind, backbone.name, task)


def head_of(kind: str, backbone: str, task: Task) -> Head | None:
    """Return the head for a task on a backbone of a kind: an encoder needs one, a decoder none.

    Raises:
        ConfigError: If an encoder has no head for the task, whose answers are to be written.
    """
    if kind != "encoder":
        return None
    if task.head is None:
        raise ConfigError(
            f"task must be classification or regression with the encoder backbone={backbone}, got "
            f"{task.name!r}, whose answers are to be written: choose a decoder."
        )
    return task.head


def _enter_forward(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let the active context check the forward that is about to begin."""
    tokens = kwargs.get("input_ids", args[0] if args else None)
    if tokens is None:
        tokens = kwargs["inputs_embeds"]
    current_context().enter_forward(tokens.shape[0], tokens.shape[1], given_cache(kwargs))


def _enter_answer(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let the active context check the forward of an answer that is about to begin."""
    tokens = args[0] if args else kwargs["input_ids"]
    current_context().enter_answer(len(tokens), given_cache(kwargs))


def _bind_cache(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Tie a cache that the decoder made itself to the context."""
    context = current_context()
    cache = cache_of(output)
    if context.stage == "prompt" and cache is not None:
        context.bind(cache)


def _bind_answer_cache(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
    """Tie a cache that the stack which writes has made at an answer's beginning to the context."""
    context = current_context()
    if context.num_cached == 0:
        context.bind(cache_of(output))


def _own_copies(adapter: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Give the adapter its own copies of backbone parameters that it shared while attached."""
    for path, module in adapter.named_modules():
        if path != "backbone" and not path.startswith("backbone."):
            continue
        for name in list(module._parameters):  # there is no public way
            module._parameters[name] = nn.Parameter(kept[f"{path}.{name}"])
