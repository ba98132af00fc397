"""What the first stage alone makes of the true future frames: the upper bound of any prediction in its latents.

The frames are encoded (the posterior's mode) and decoded again; no diffusion model is asked.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch

from formats.pictures import open_picture
from ldm.data.pixels import array_to_tensor, tensor_to_array, to_signed, to_uint8
from prediction.dataset import Job, PredictedJob
from prediction.load import LoadedPredictor
from prediction.predictor import FramePredictor

OF_FIRST_STAGE = ("precision", "resolution", "checkpoint", "checkpoint_sha256", "tiny_decoder", "tiny_decoder_sha256")


@torch.inference_mode()
def reconstruct_batches(
    predictor: FramePredictor, jobs: Sequence[Job], batch_size: int
) -> Iterator[list[PredictedJob]]:
    """The truths of jobs, encoded and decoded, in their order.

    Args:
        predictor: whose first stage is asked, at its resolution.
        jobs: with truths.
        batch_size: frames at once.
    """
    stage = predictor.model.first_stage_model
    number = next((parameter.dtype for parameter in stage.parameters()), torch.get_default_dtype())
    for start in range(0, len(jobs), batch_size):
        batch = list(jobs[start : start + batch_size])
        begun = time.perf_counter()
        opened = [open_picture(job.truth) for job in batch]
        frames = torch.stack([array_to_tensor(picture.squared(predictor.resolution)) for picture in opened])
        signed = to_signed(frames.to(predictor.model.device)).to(number)
        decoded = to_uint8(stage.decode(stage.encode(signed).mode())).cpu()
        seconds = (time.perf_counter() - begun) / len(batch)
        arrays = [tensor_to_array(frame) for frame in decoded]
        yield [PredictedJob(*done, seconds) for done in zip(batch, opened, arrays, strict=True)]


def reconstruction_settings(loaded: LoadedPredictor) -> dict[str, Any]:
    """What a reconstruction depends on beside the truth; `reconstruction` tells metrics what the folder holds."""
    settings = loaded.settings()
    return {"reconstruction": True} | {name: settings[name] for name in OF_FIRST_STAGE if name in settings}
