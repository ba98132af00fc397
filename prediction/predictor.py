"""FramePredictor: pictures and sentences in, pictures out; what the command line, the web page and benchmarks use.

The composition of a model, a sampler and guidance. Loading weights is the caller's act.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from commands.errors import UserError
from formats.hashing import stable_number
from ldm.data.neighbours import Episode, Neighbours
from ldm.data.pixels import tensor_to_array, to_signed, to_uint8
from ldm.data.stream import SEED_RANGE
from ldm.models.diffusion.conditioning import Conditioning
from ldm.models.diffusion.ddpm import LatentDiffusion
from ldm.models.diffusion.sampling import SamplingOptions, make_sampler
from ldm.modules.attention import ProjectedContext, project_context

MAX_ROLLOUT = 1000  # predictions in a row; all are kept until the last
SLACK = 1e-3  # seconds beyond the trained range that are no other time
KEPT_INSTRUCTIONS = 32  # sentences whose keys and values are kept; SD v1.5's 16 pairs in bf16 are 3.8 MB a sentence

Precision = Literal["fp32", "bf16", "fp16"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
Progress = Callable[[Iterable], Iterable]  # wraps the sampler's steps: shows a bar, or stops by raising


@dataclass(frozen=True)
class Runtime:
    """How the network is run; what it predicts stays the same up to rounding.

    Args:
        precision: of weights and activations of network and first stage; latents and schedule stay fp32.
        channels_last: memory layout that GPU convolutions prefer.
        compile: torch.compile, with CUDA graphs on a GPU; the first prediction of each shape then takes minutes,
            so it pays for many predictions only.
    """

    precision: Precision = "fp32"
    channels_last: bool = False
    compile: bool = False


def default_runtime(device: torch.device) -> Runtime:
    """fp32 on a CPU; on a GPU bf16 where it has it, else fp16, and channels last."""
    if device.type != "cuda":
        return Runtime()
    return Runtime("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16", channels_last=True)


def tune_for_inference(model: LatentDiffusion, runtime: Runtime) -> LatentDiffusion:
    """The model itself, cast, laid out and compiled for prediction."""
    if runtime.precision not in DTYPES:
        raise UserError(f"precision '{runtime.precision}' is not one of {', '.join(DTYPES)}.")
    layout = torch.channels_last if runtime.channels_last else torch.preserve_format
    for part in (model.model, model.first_stage_model):
        part.to(dtype=DTYPES[runtime.precision], memory_format=layout)
    if model.foresight is not None:  # places of keypoints: half precision would round them to a quarter of a pixel
        model.foresight.to(dtype=DTYPES["fp32"])
    if runtime.compile:
        mode = "reduce-overhead" if model.device.type == "cuda" else "default"
        coders = (getattr(model.first_stage_model, name, None) for name in ("encoder", "decoder"))
        for part in (model.model.diffusion_model, *filter(None, coders)):
            part.compile(mode=mode)
    return model


def seed_of(pair_id: str, seed: int) -> int:
    """Seed of one pair of a data set: depends on its name and the run's seed, not on its place in a batch."""
    return stable_number(f"{seed}/{pair_id}") % SEED_RANGE


def sample_seeds(seed: int, num: int) -> list[int]:
    """Seeds of several predictions of one picture; the first is its own."""
    return [seed if k == 0 else seed_of(f"sample/{k}", seed) for k in range(num)]


def rollout_seed(k: int, seed: int) -> int:
    """Seed of the k-th prediction in a row, 0 the first; its own is the first's."""
    return seed if k == 0 else seed_of(f"rollout/{k}", seed)


class Asked(NamedTuple):
    """How B frames are asked for; see FramePredictor.predict."""

    seconds: Sequence[float] | None  # of a model that takes the time as an input, and of no other
    drawn: bool = False
    options: SamplingOptions | None = None
    progress: Progress = iter
    episodes: Sequence[Episode] | None = None


class FramePredictor:
    """Predicts future frames with a model that has its weights.

    Keeps what the network's cross-attention makes of each instruction, so that neither a repeated sentence nor a
    further step computes it again.

    Args:
        model: in eval mode, on its device, with the weights and in the precision that are to be used.
        resolution: side of the square frames that the model was trained on.
        options: how frames are drawn where a call does not say otherwise.
        horizon: frames ahead that the model was trained for; None where that is not known, or varies.
        horizon_range: least and largest of the horizons that it was trained for, where they vary.
        neighbours: where a model that takes neighbours looks them up; None for others.
        seconds: ahead where a call does not say, for a model that takes the time as an input; None: as far as it can.
        seconds_range: least and greatest time that such a model was trained for.
    """

    def __init__(
        self,
        model: LatentDiffusion,
        resolution: int,
        options: SamplingOptions,
        horizon: int | None = None,
        horizon_range: tuple[int, int] | None = None,
        neighbours: Neighbours | None = None,
        seconds: float | None = None,
        seconds_range: tuple[float, float] | None = None,
    ) -> None:
        self.model = model
        self.resolution = resolution
        self.options = options
        self.horizon = horizon
        self.horizon_range = horizon_range
        self.neighbours = neighbours
        if self.takes_seconds and seconds_range is None:
            raise UserError("this model takes the seconds ahead: its config needs seconds_range, as a run writes it.")
        self.seconds = seconds
        self.seconds_range = seconds_range
        self.sampler_of = lru_cache(maxsize=64)(partial(make_sampler, model.schedule))
        self.sampler_of(options)  # refuses impossible step counts now
        self._texts: OrderedDict[str, tuple[Tensor, ProjectedContext]] = OrderedDict()

    def predict(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        horizon: int | None = None,
        *,
        seconds: Sequence[float] | None = None,
        drawn: bool = False,
        options: SamplingOptions | None = None,
        progress: Progress = iter,
        episodes: Sequence[Episode] | None = None,
    ) -> Tensor:
        """Future frames of current ones.

        Args:
            frames: (B, 3, H, W) uint8 RGB; H and W multiples of the first stage's factor.
            instructions: B sentences.
            seeds: B numbers; a prediction depends on its seed, and on the size of its batch by float rounding only:
                other kernels compute it, and a value at the edge of two grey levels may move by one.
            horizon: frames ahead, a multiple of the model's own, reached by feeding predictions back; None takes
                the model's own.
            seconds: ahead, one a frame, for a model that takes the time as an input; None takes its own.
            drawn: draw where things will be by the seed, instead of taking the mean; for models with a foresight.
            options: of this call; None takes the predictor's.
            progress: wraps the sampler's steps, to show a bar.
            episodes: B episodes that the frames are of, which are not looked up in; None where that is not known.

        Returns:
            (B, 3, H, W) uint8 RGB.

        Raises:
            UserError: if an instruction is empty, or the model cannot reach the horizon.
        """
        num = self.count_predictions(horizon)
        told = {"seconds": seconds, "drawn": drawn, "options": options, "progress": progress, "episodes": episodes}
        return self.rollout(frames, instructions, seeds, num, **told)[-1]

    def predict_views(self, *asked: Any, **told: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """As `predict`, and the future frames (B, 3, S, S) of other cameras by name, where the model knows several."""
        return self.predict(*asked, **told), {}

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.device

    @property
    def takes_seconds(self) -> bool:
        """Whether the time ahead is an input of the model."""
        return self.model.takes_seconds

    def times(self, seconds: Sequence[float] | None, num: int) -> list[float] | None:
        """Seconds ahead of `num` predictions: the given ones, or the model's own; None where it takes none.

        Raises:
            UserError: if the model takes no seconds and some are given, or was not trained that far.
        """
        if not self.takes_seconds:
            if seconds is not None:
                own = f"{self.horizon} frames" if self.horizon else "as far as its training pairs"
                raise UserError(
                    f"seconds {seconds[0]:g}: this model predicts {own} ahead, no other time; leave it out."
                )
            return None
        least, most = self.seconds_range
        asked = [self.seconds or most] * num if seconds is None else [float(second) for second in seconds]
        wrong = next((second for second in asked if not least - SLACK <= second <= most + SLACK), None)
        if wrong is not None:
            raise UserError(
                f"seconds {wrong:g}: this model was trained for {least:g} to {most:g} seconds ahead; ask for one of "
                "these, or look further by feeding predictions back (--rollout)."
            )
        return asked

    def check_samples(self) -> None:
        """Refuse to draw several futures with a model that knows one.

        Raises:
            UserError: if it predicts the mean of all futures, so that its samples do not differ.
        """
        if self.model.is_deterministic:
            raise UserError(
                "--samples: this model predicts the mean of all futures in one step, so that samples do not differ; "
                "take one with a foresight (configs/bundled.yaml), or one of several steps."
            )

    def count_predictions(self, horizon: int | None) -> int:
        """How many predictions in a row reach so many frames ahead; None is the model's own horizon, in one.

        Raises:
            UserError: if the horizon is no multiple of the model's, or the model's is not known.
        """
        if horizon is None:
            return 1
        if self.takes_seconds:
            raise UserError(f"horizon {horizon}: this model counts in seconds, not in frames; give --seconds.")
        if self.horizon is None and self.horizon_range is not None:
            least, largest = self.horizon_range
            raise UserError(
                f"horizon {horizon}: this model was trained on pairs {least} to {largest} frames apart; a prediction "
                "shows the end of the motion, not a given frame; leave the horizon out, and count in predictions "
                "(--rollout) to look further."
            )
        if self.horizon is None:
            raise UserError(
                f"horizon {horizon}: the model's config does not say how far ahead it predicts; leave the horizon out, "
                "and ask for a rollout of several predictions to look further."
            )
        if horizon < 1 or horizon % self.horizon:
            own = self.horizon
            raise UserError(
                f"horizon {horizon}: this model predicts {own} frames ahead, and {2 * own}, {3 * own}, ... by feeding "
                "predictions back; choose one of these, or train at the other horizon."
            )
        return horizon // self.horizon

    @torch.inference_mode()
    def _predict_once(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        asked: Asked,
    ) -> Tensor:
        """Frames at the model's own horizon; see `predict`."""
        check_request(frames, instructions, seeds)
        options = asked.options or self.options
        sampler = self.sampler_of(options)
        source = to_signed(frames.to(self.model.device)).to(self.model.frame_dtype)
        retrieved = self._retrieve(frames, instructions, asked.episodes)
        hidden = None if retrieved is None else torch.zeros_like(retrieved)
        context, (text, projected) = self.model.encode_context(source).float(), self._project(instructions)
        chance = [torch.Generator().manual_seed(seed_of("state", seed)) for seed in seeds] if asked.drawn else None
        told = None if asked.seconds is None else torch.tensor(asked.seconds, device=context.device)
        vector = self.model.vector_of(context, text, told, chance)
        cond = Conditioning(context, projected, vector=vector, retrieved=retrieved)
        no_text = self._project([""] * len(frames))[1]
        null = Conditioning(torch.zeros_like(context), no_text, vector=vector, retrieved=hidden)
        drawn = self.model.draw_frames(cond, null, options, seeds, sampler, asked.progress)
        return to_uint8(drawn)

    def rollout(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        num: int,
        *,
        seconds: Sequence[float] | None = None,
        drawn: bool = False,
        options: SamplingOptions | None = None,
        progress: Progress = iter,
        episodes: Sequence[Episode] | None = None,
    ) -> Tensor:
        """Frames at 1, 2, ... num times the horizon (or the seconds), each predicted from the one before.

        The first is what `predict` gives; later ones take seeds derived from the given ones.

        Returns:
            (num, B, 3, H, W) uint8 RGB.
        """
        if not 1 <= num <= MAX_ROLLOUT:
            raise UserError(f"rollout of {num}: wanted 1 to {MAX_ROLLOUT} predictions in a row.")
        asked = Asked(self.times(seconds, len(frames)), drawn, options, progress, episodes)
        predicted = []
        for k in range(num):
            own = [rollout_seed(k, seed) for seed in seeds]
            frames = self._predict_once(frames, instructions, own, asked)
            predicted.append(frames)
        return torch.stack(predicted)

    def _retrieve(
        self, frames: Tensor, instructions: Sequence[str], episodes: Sequence[Episode] | None
    ) -> Tensor | None:
        """Latents of the neighbours of frames, see Conditioning.retrieved; None for a model that takes none."""
        if self.neighbours is None:
            return None
        near = []
        for frame, sentence, episode in zip(frames, instructions, episodes or [None] * len(frames), strict=True):
            ranked = self.neighbours.rank(tensor_to_array(frame), sentence, episode)
            near.append(self.neighbours.read(ranked, frame.shape[-1]))
        signed = to_signed(torch.stack(near).to(self.model.device)).to(self.model.frame_dtype)
        return self.model.encode_neighbours(signed).float()

    def _project(self, instructions: Sequence[str]) -> tuple[Tensor, ProjectedContext]:
        """Tokens of sentences, their keys and values; of each distinct one computed once and alone, the last kept."""
        new = [sentence for sentence in dict.fromkeys(instructions) if sentence not in self._texts]
        if new:
            for sentence, embedded in zip(new, self.model.encode_instruction(new).split(1), strict=True):
                self._texts[sentence] = embedded, project_context(self.model.model.diffusion_model, embedded)
        for sentence in instructions:
            self._texts.move_to_end(sentence)
        texts = [self._texts[sentence] for sentence in instructions]
        while len(self._texts) > KEPT_INSTRUCTIONS:
            self._texts.popitem(last=False)
        tokens = torch.cat([embedded for embedded, _ in texts])
        return tokens, {layer: torch.cat([text[layer] for _, text in texts]) for layer in texts[0][1]}


def check_request(frames: Tensor, instructions: Sequence[str], seeds: Sequence[int]) -> None:
    """Refuse an empty instruction; as many of each is the caller's duty.

    Raises:
        UserError: names the instruction.
    """
    if not len(frames) == len(instructions) == len(seeds):
        raise ValueError(
            f"{len(frames)} frames, {len(instructions)} instructions, {len(seeds)} seeds: pass as many of each."
        )
    empty = [i for i, sentence in enumerate(instructions) if not sentence.strip()]
    if empty:
        raise UserError(f"instruction {empty[0]} is empty; say what the robot does, such as 'stack blocks'.")
