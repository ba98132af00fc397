"""Which model predicts and how its network is run: the flags, and the request that they make.

Imports no torch, so that a command's --help and its refusals come at once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from commands.errors import UserError

BUNDLED = Path(__file__).resolve().parents[1] / "bundled_model" / "model.safetensors"
PRECISIONS = ("fp32", "bf16", "fp16")
ENGINES = ("pytorch", "onnxruntime")
SAMPLING_FLAGS = ("steps", "cfg_text", "cfg_image", "sampler", "spacing", "eta", "rescale", "guide_between")


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Which model predicts, and how its network is run; None takes the checkpoint's own or what suits the device.

    Args:
        ckpt: weights, a file or a folder.
        config: None looks beside the weights.
        trust_config: the config beside the weights may name any class, see ldm.util.check_targets.
        first_stage: run, file or published name of another autoencoder.
        tiny_decoder: file of a decoder that is used instead of the first stage's own.
        resolution: side of the predicted square, in pixels.
        compile: see prediction.predictor.Runtime.
        engine: one of ENGINES: what computes the networks.
        sampling: fields of SamplingOptions that replace the config's.
    """

    ckpt: Path = BUNDLED
    config: Path | None = None
    trust_config: bool = False
    first_stage: str | None = None
    tiny_decoder: Path | None = None
    resolution: int | None = None
    precision: str | None = None
    compile: bool = False
    engine: str = ENGINES[0]
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.engine != ENGINES[0] and (self.compile or self.precision not in (None, "fp32")):
            raise UserError(
                f"--engine {self.engine} computes in fp32 and compiles nothing: leave --precision and --compile out."
            )

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> Self:
        """From a command's flags by name; flags of other requests are ignored."""
        words = {"cfg_text": "text_scale", "cfg_image": "image_scale", "guide_between": "interval"}
        given = {words.get(name, name): flags.get(name) for name in SAMPLING_FLAGS}
        own = {one.name: flags[one.name] for one in fields(cls) if one.name in flags}
        return cls(**own, sampling={name: value for name, value in given.items() if value is not None})


def add_model_flags(add: Callable) -> None:
    """Flags of a ModelRequest, the same in every command that predicts.

    Args:
        add: `add_argument` of a parser or of a group.
    """
    add("--ckpt", type=Path, default=BUNDLED, help="weights; default: the bundled small model")
    add("--config", type=Path, help="config; default: found beside the checkpoint")
    add("--trust-config", action="store_true", help="let the config beside the weights name any class: it can run code")
    add("--resolution", type=int, help="side of the predicted square; default: the config's")
    add("--precision", choices=PRECISIONS, help="default: fp32 on a CPU, bf16 or fp16 on a GPU")
    add("--compile", action="store_true", help="torch.compile: minutes at first, pays for many frames on a GPU")
    add("--engine", choices=ENGINES, default=ENGINES[0], help="onnxruntime: on the CPU, installed by the extra onnx")
    add("--first-stage", help="another autoencoder: a run with a fine-tuned decoder, a file, or vae-ft-mse")
    add("--tiny-decoder", type=Path, help="TAESD's decoder instead of the model's own: quicker, a little softer")
