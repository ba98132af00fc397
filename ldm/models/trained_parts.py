"""Which parameters train: all of the U-Net, its attention, the image encoder's last layers, low-rank additions (LoRA).

Source: LoRA (arXiv 2106.09685), eq. 3; light_future, sections 4.2 and 4.3.

The first convolution trains in every choice but LoRA with `first_convolution: false`: from Stable Diffusion's weights
its four new input channels start at zero, and frozen there the network would never see the source frame.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn import functional as F

from commands.errors import UserError

Parts = Literal["all", "cross-attention", "light_future", "lora"]
ImageEncoder = Literal["vae", "unet"]
CROSS_ATTENTION = r"\.attn2\."
SELF_ATTENTION_PROJECTIONS = r"\.attn1\.to_(q|v)\."  # the "part of self-attention": what LoRA's paper adapts too
FIRST_CONVOLUTION = r"input_blocks\.0\.0\."
UNSCALES_BY_ITSELF = "_step_supports_amp_scaling"  # what torch's GradScaler and Lightning ask an optimiser
ATTENTION_LAYERS = re.compile(r"\.attn[12]\.to_(q|k|v|out\.0)$")


class LoraLinear(nn.Linear):
    """A frozen linear layer W with a trained low-rank addition: y = W x + (alpha / r) B A x.

    Args:
        base: the layer; its weight and bias are shared, not copied.
        rank: r.
        alpha: scale of the addition, over r.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float):
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.scale = alpha / rank
        like = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.lora_down = nn.Parameter(torch.empty(rank, self.in_features, **like))  # A
        self.lora_up = nn.Parameter(torch.zeros(self.out_features, rank, **like))  # B
        nn.init.kaiming_uniform_(self.lora_down, a=5**0.5)  # B is zero, so nothing changes at first

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) => (..., out_features)."""
        return super().forward(x) + self.scale * F.linear(F.linear(x, self.lora_down), self.lora_up)

    def merged(self) -> Tensor:
        """(out, in) weight of the plain layer that does the same: W + (alpha / r) B A."""
        return self.weight.detach() + self.scale * (self.lora_up.detach() @ self.lora_down.detach())


class TrainedParts:
    """A choice of what trains in a U-Net; everything else is frozen.

    Args:
        parts: `all`; `cross-attention`; `light_future`: cross-attention, queries and values of self-attention, and
            the last `last_encoder_blocks` blocks of the image encoder; `lora`: additions to all attention layers.
        last_encoder_blocks: see light_future.
        image_encoder: which network light_future's "image encoder" is. `vae` is the paper's own (section 4.2: the
            VAE's encoder): its last levels, the middle one being the very last, and its output layers train through
            the source frame's latent; targets keep the encoder that the training began with, and latents cannot be
            cached. `unet`, the default, for it is cheaper, allows cached latents and is what a config without this
            key has always meant: the last input blocks of the U-Net's descending half, which encode the frame beside
            the noise.
        rank, alpha: of LoRA.
        first_convolution: train it beside LoRA's additions; wanted when it has just been widened.
    """

    def __init__(
        self,
        parts: Parts,
        last_encoder_blocks: int = 0,
        rank: int | None = None,
        alpha: float | None = None,
        image_encoder: ImageEncoder = "unet",
        *,
        first_convolution: bool = True,
    ):
        if parts not in get_args(Parts):
            raise UserError(f"trainable_config: parts '{parts}' is not one of {', '.join(get_args(Parts))}.")
        if parts == "lora" and not rank:
            raise UserError("trainable_config: LoRA needs a rank, such as rank: 8.")
        if image_encoder not in get_args(ImageEncoder):
            raise UserError(f"trainable_config: image_encoder '{image_encoder}' is not one of vae, unet.")
        self.parts: Parts = parts
        self.trains_first_stage = parts == "light_future" and image_encoder == "vae" and last_encoder_blocks > 0
        self.last_encoder_blocks = last_encoder_blocks
        self.rank = rank or 0
        self.alpha = float(alpha if alpha is not None else self.rank)
        self.first_convolution = first_convolution

    def select(self, unet: nn.Module, first_stage: nn.Module | None = None) -> None:
        """Freeze what does not train. Before the optimiser is made; a second call changes nothing.

        Args:
            unet: the denoising network.
            first_stage: frozen as a whole before; needed where its encoder's last layers train.
        """
        if self.trains_first_stage:
            for layer in last_encoder_layers(first_stage, self.last_encoder_blocks):
                layer.requires_grad_(True)
        if self.parts == "all":
            unet.requires_grad_(True)
            return
        unet.requires_grad_(False)
        chosen = re.compile("|".join(self._patterns(unet)) or "$^")
        for name, parameter in unet.named_parameters():
            parameter.requires_grad_(bool(chosen.search(name)))

    def _patterns(self, unet: nn.Module) -> list[str]:
        """Regular expressions of the names that train."""
        first = [f"^{FIRST_CONVOLUTION}"] if self.first_convolution else []
        if self.parts == "lora":
            return [*first, r"\.lora_(up|down)$"]
        if self.parts == "cross-attention":
            return [*first, CROSS_ATTENTION]
        if self.trains_first_stage:
            return [*first, CROSS_ATTENTION, SELF_ATTENTION_PROJECTIONS]
        num = len(unet.input_blocks)
        last = [rf"^input_blocks\.{i}\." for i in range(num - self.last_encoder_blocks, num)]
        return [*first, CROSS_ATTENTION, SELF_ATTENTION_PROJECTIONS, *last]

    def add_adapters(self, unet: nn.Module) -> None:
        """Put LoRA's additions into a U-Net that has its weights; nothing where they are or where none are wanted."""
        if self.parts != "lora":
            return
        for parent, child, layer in list(_attention_layers(unet)):
            if not isinstance(layer, LoraLinear):
                setattr(parent, child, LoraLinear(layer, self.rank, self.alpha))


def last_encoder_layers(first_stage: nn.Module, blocks: int) -> list[nn.Module]:
    """The last `blocks` levels of a first stage's encoder, its middle one the last, and the layers after them.

    Raises:
        UserError: if it is no AutoencoderKL, or has fewer levels.
    """
    encoder = getattr(first_stage, "encoder", None)
    if not all(hasattr(encoder, name) for name in ("down", "mid", "norm_out", "conv_out")):
        raise UserError(
            f"trainable_config: image_encoder vae trains the encoder of an AutoencoderKL, and this model's first stage "
            f"is a {type(first_stage).__name__}; give image_encoder: unet."
        )
    levels = [*encoder.down, encoder.mid]
    if blocks > len(levels):
        raise UserError(f"trainable_config: last_encoder_blocks {blocks}; the VAE's encoder has {len(levels)} levels.")
    return [*levels[len(levels) - blocks :], encoder.norm_out, encoder.conv_out, first_stage.quant_conv]


def _attention_layers(unet: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Linear]]:
    """(parent, name in it, layer) of each linear layer of each attention."""
    for name, layer in unet.named_modules():
        if ATTENTION_LAYERS.search(name):
            parent, _, child = name.rpartition(".")
            yield unet.get_submodule(parent), child, layer


def merge_adapters(network: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make a state dict plain: the additions of `network` go into its weights; returns what was taken out.

    Args:
        network: holds LoraLinear layers.
        state: the network's state dict; changed in place.

    Returns:
        Unmerged weights and additions by name, as a resumed run wants them back.
    """
    taken = {}
    for name, layer in network.named_modules():
        if isinstance(layer, LoraLinear):
            path = f"{name}."
            for part in ("lora_up", "lora_down"):
                taken[path + part] = state.pop(path + part)
            taken[path + "weight"] = state[path + "weight"]
            state[path + "weight"] = layer.merged()
    return taken


def make_adamw(
    parameters: Iterable[nn.Parameter] | Iterable[dict],
    learning_rate: float,
    weight_decay: float,
    bits: int,
    *,
    sharded: bool = False,
) -> torch.optim.Optimizer:
    """AdamW, fused; with 8 bits bitsandbytes', whose moments take a quarter of the memory.

    Args:
        parameters: that it moves.
        learning_rate, weight_decay: of AdamW.
        bits: of its moments, 32 or 8.
        sharded: each process keeps the moments of its share of the parameters (ZeRO stage 1).

    Raises:
        UserError: if 8 bits are asked for and bitsandbytes is not installed, or are to be sharded.
    """
    if sharded:
        if bits != 32:
            raise UserError(
                f"model.params.optimizer_bits: {bits} with lightning.trainer.strategy zero: moments of 8 bits are not "
                "put in shards; set optimizer_bits=32, or strategy=ddp."
            )
        settings = {"lr": learning_rate, "weight_decay": weight_decay, "fused": True}
        return ZeroRedundancyOptimizer(list(parameters), optimizer_class=torch.optim.AdamW, **settings)
    if bits == 32:
        return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)
    if bits != 8:
        raise UserError(f"model.params.optimizer_bits: {bits} is not one of 8, 32.")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise UserError(
            "model.params.optimizer_bits: 8 needs bitsandbytes and a CUDA GPU.\n"
            "Install it with: pip install bitsandbytes, or set model.params.optimizer_bits=32"
        ) from error
    return AdamW8bit(parameters, lr=learning_rate, weight_decay=weight_decay)


def allow_clipping(optimizer: torch.optim.Optimizer, trainer: object | None) -> None:
    """Where a trainer clips gradients, they are unscaled before a fused step instead of in it.

    A fused AdamW says that it takes out the loss scale of mixed precision by itself, in the step, which is too late to
    clip; Lightning refuses it. Without that word the scale is taken out first and the step stays fused.

    Args:
        optimizer: of `make_adamw`.
        trainer: Lightning's, or None outside a run.
    """
    if trainer is not None and trainer.gradient_clip_val and hasattr(optimizer, UNSCALES_BY_ITSELF):
        setattr(optimizer, UNSCALES_BY_ITSELF, False)
