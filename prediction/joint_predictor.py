"""A model of video and action as a predictor of frames: from what one camera sees now, what every camera will see.

Somebody's picture comes alone, so the model is told that the other cameras and the robot's state are absent, as they
were in some of its training samples. prediction.view_frames tells it all that an episode knows.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from commands.errors import UserError
from ldm.data.joint_windows import as_range
from ldm.data.pixels import to_signed, to_uint8
from ldm.models.diffusion.sampling import SamplingOptions
from ldm.models.joint.prediction import check_mode, own_options, predict
from ldm.models.joint.video_action import JointVideoAction
from prediction.predictor import Asked, FramePredictor, Progress, check_request


def check_options(options: SamplingOptions) -> SamplingOptions:
    """The options themselves, if such a model can follow them.

    Raises:
        UserError: if they ask for guidance towards the frame, which it has not.
    """
    if options.image_scale != 1.0:
        raise UserError(f"--cfg-image {options.image_scale:g}: a model of video and action has none; leave it at 1.")
    return options


class JointPredictor(FramePredictor):
    """See FramePredictor; seconds ahead are those that the model was trained for.

    Args:
        model: in eval mode, with the weights that are to predict.
        options: what a user asks of sampling, by the names of SamplingOptions.
    """

    def __init__(self, model: JointVideoAction, options: dict[str, Any]) -> None:
        check_mode(model, "video")
        self.main = next((camera for camera in model.cameras if "head" in camera), next(iter(model.cameras)))
        times = [as_range(told) for told in model.video.seconds]
        ahead = (min(least for least, _ in times), max(most for _, most in times))
        super().__init__(
            model, model.cameras[self.main], check_options(replace(own_options(model), **options)), seconds_range=ahead
        )

    @property
    def takes_seconds(self) -> bool:
        """The time ahead is an input of the model."""
        return True

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return next(self.model.parameters()).device

    def check_samples(self) -> None:
        """Refuse to draw several futures with a model that predicts in one step.

        Raises:
            UserError: if its samples would not differ.
        """
        if self.model.video.training_steps == 1:
            raise UserError(
                "--samples: this model predicts the mean of all futures in one step; samples do not differ."
            )

    def predict_views(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        horizon: int | None = None,
        *,
        seconds: Sequence[float] | None = None,
        options: SamplingOptions | None = None,
        progress: Progress = iter,
        **_: object,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Future frames of the camera that is shown, and of each other; see FramePredictor."""
        self.count_predictions(horizon)
        asked = Asked(self.times(seconds, len(frames)), options=options, progress=progress)
        views = self._draw(frames, instructions, seeds, asked)
        return views.pop(self.main), views

    def _predict_once(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        asked: Asked,
    ) -> Tensor:
        """Frames of the camera that is shown."""
        return self._draw(frames, instructions, seeds, asked)[self.main]

    @torch.inference_mode()
    def _draw(
        self,
        frames: Tensor,
        instructions: Sequence[str],
        seeds: Sequence[int],
        asked: Asked,
    ) -> dict[str, Tensor]:
        """Camera => (B, 3, S, S) uint8."""
        check_request(frames, instructions, seeds)
        batch = self._alone(to_signed(frames.to(self.device)), list(instructions), asked.seconds)
        for _ in asked.progress(range(1)):  # the sampler's own steps are not seen from here
            answer = predict(self.model, batch, "video", seeds, check_options(asked.options or self.options))
        return {camera: to_uint8(shown[:, 0]) for camera, shown in answer.frames.items()}

    def _alone(self, shown: Tensor, instructions: list[str], seconds: Sequence[float]) -> dict:
        """A batch of which nothing is known but pictures (B, 3, S, S) of one camera, that stood still until now."""
        model, size, history = self.model, len(shown), len(self.model.video.history) + 1
        empty = {camera: shown.new_zeros(size, history, 3, side, side) for camera, side in model.cameras.items()}
        batch = {
            "frames": empty | {self.main: shown[:, None].expand(-1, history, -1, -1, -1)},
            "view_valid": {c: torch.full((size,), c == self.main, device=self.device) for c in model.cameras},
            "history": shown.new_zeros(size, history),
            "seconds": torch.tensor(seconds, device=self.device)[:, None],
            "instruction": instructions,
        }
        if model.actions is not None:
            state = shown.new_zeros(size, model.actions.state_size)
            batch |= {"command": state, "measured": state, "past_commands": state[:, None].repeat(1, history - 1, 1)}
            batch["state_valid"] = torch.zeros(size, dtype=torch.bool, device=self.device)
        return batch
